"""Tiny runs of the verbs, and what can happen to them: another process, a full disk."""

import json
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from casc_det.base.lines import read_lines
from casc_det.cli.run import main
from casc_det.graph.file import load_graph, save_graph
from casc_det.studies.run import study

VAL = ("timesteps=4,auto", "bootstrap=10")
STUDY = ("timesteps=2,4,12", "policies=quiescent,boxes-stable(2)")


def words(place: Path, verb: str, *more) -> list[str]:
    common = [f"data={place / 'data.json'}", f"images={place / 'images'}", f"weights={place / 'net.safetensors'}"]
    return [verb, *common, "imgsz=32", f"project={place / 'runs'}", *(VAL if verb == "val" else STUDY), *more]


def run(capsys, *words) -> tuple[int, str, str]:
    """A call of the command line: its exit code, standard output and error."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails(capsys, *words, code=1) -> str:
    """The one-line message of a call that must fail."""
    got, _, error = run(capsys, *words)
    line = error.strip().splitlines()[-1]
    assert got == code and line.startswith("casc-det: ") and "Traceback" not in error
    return line


def numbers(folder: Path):
    """What a run says, without clock, machine and folder."""
    if (folder / "results.json").exists():
        rows = json.loads((folder / "results.json").read_text())["rows"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    cells = read_lines(folder / "cells.jsonl")
    for cell in cells:
        del cell["result"]["seconds"], cell["result"]["curves"]["seconds"], cell["made"], cell["variant"]
    return sorted(cells, key=lambda cell: cell["key"])


def change_weight(place):
    graph = load_graph(place / "net.safetensors")
    node = next(node for node in graph.nodes if hasattr(node, "weight"))
    node.weight[0, 0, 0, 0] += 1
    save_graph(graph, place / "net.safetensors")


def run_study(place: Path, weights, **options) -> Path:
    asked = {"images": place / "images", "imgsz": 32, "policies": "quiescent", "project": place / "runs"}
    return study(weights, place / "data.json", timesteps="2,4,12", report=False, **asked, **options)[0]


HOLD = "import sys, pathlib; from casc_det.base.folders import locked\nwith locked(pathlib.Path(sys.argv[1])):\n"
HOLD += "  print(1, flush=True); sys.stdin.read()"


@contextmanager
def held(folder: Path):
    """The number of a process that has a run folder in use, and is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        yield other.pid
        other.kill()


@contextmanager
def size_limit(size: int):
    """Inside, no file can be larger than so many bytes, as on a full disk; pytest's own must not be written there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
