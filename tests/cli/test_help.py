"""Help of the command line, and of the scripts in tools/."""

import runpy
import sys
from pathlib import Path

import pytest
from runs import run

import casc_det

TOOLS = Path(__file__).parents[2] / "tools"


def test_help_names_the_types(capsys):
    out = run(capsys, "predict", "--help")[1]
    assert "(true or false)" in out and "(one of fast, reference)" in out and "(an integer or auto)" in out


def test_help_and_version(capsys):
    assert run(capsys, "--version") == (0, f"casc-det {casc_det.__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0 and all(verb in out for verb in ("demo", "predict", "train", "convert", "info"))
    for verb in ("demo", "predict", "train", "convert", "info"):
        code, out, _ = run(capsys, verb, "--help")
        assert code == 0 and "weights" in out


@pytest.mark.parametrize("tool", sorted(path.stem for path in TOOLS.glob("*.py") if "__main__" in path.read_text()))
def test_tools_show_their_help(monkeypatch, capsys, tool):
    monkeypatch.setattr(sys, "argv", [tool, "--help"])
    monkeypatch.syspath_prepend(str(TOOLS))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
    assert end.value.code == 0 and f"python tools/{tool}.py" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["compare_neurons", "check_exactness", "voc_to_yolo"])
def test_tools_name_what_is_missing(monkeypatch, tool):
    monkeypatch.setattr(sys, "argv", [tool])
    with pytest.raises(SystemExit, match="source is missing; see --help"):
        runpy.run_path(str(TOOLS / f"{tool}.py"), run_name="__main__")
