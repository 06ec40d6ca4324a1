"""Figures: one that fails costs no other, and nothing touches what is global in matplotlib."""

import matplotlib
import pytest

from casc_det.errors import OutputError
from casc_det.show.figures import literal, new_figure, save_figures


def drawn():
    figure, axes = new_figure(1, 2, 3, 2)
    axes[0, 1].plot([0, 1], [0, 1], label=literal("_hidden $x"))
    return figure


def broken():
    raise ValueError("no such\nglyph")


def test_figures_that_fail_or_are_none_are_named_and_removed(tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("fails", "none"):
        (tmp_path / f"{name}.png").write_bytes(b"of an earlier run")
    problems = save_figures(tmp_path, {"a": drawn, "fails": broken, "none": lambda: None, "b": drawn}, (".png", ".pdf"))
    assert problems == ["fails: could not be drawn (ValueError: no such glyph)"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]
    assert dict(matplotlib.rcParams) == before


def test_files_that_cannot_be_written_end_it(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match="a.png"):
        save_figures(tmp_path, {"a": drawn})


def test_text_from_data_is_cut_and_not_typeset():
    assert literal("_a$b\n") == r" _a\$b " and len(literal("x" * 300)) == 200
