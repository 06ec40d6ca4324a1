"""Numbers outlive figures that fail; names are drawn as they are."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from runs import numbers, words

from casc_det.cli.run import main
from casc_det.evaluation import report
from casc_det.evaluation.figures import plot_confusion
from casc_det.graph.file import load_graph, save_graph
from casc_det.show import figures as plots
from casc_det.studies.figures import FIGURES


def broken(*_):
    raise ValueError("no such\nglyph")


def test_numbers_outlive_figures_that_fail(place, monkeypatch, capsys):
    monkeypatch.setattr(report, "plot_confusion", broken)
    monkeypatch.setattr(report, "draw_boxes", broken)
    for name in ("curves", "pareto", "more_fewer", "layer_error", "neurons"):
        monkeypatch.setitem(FIGURES, name, replace(FIGURES[name], draw=lambda _: None))  # quicker
    monkeypatch.setitem(FIGURES, "map", replace(FIGURES["map"], draw=broken))
    assert main(words(place, "val", "name=a")) == 0
    error, folder = capsys.readouterr().err, place / "runs" / "a"
    assert "confusion: could not be drawn (ValueError: no such glyph)" in error and "examples: could" in error
    assert numbers(folder) and (folder / "results.csv").exists() and (folder / "precision_recall.png").exists()
    assert not (folder / "confusion.png").exists()
    assert main(words(place, "study", "name=b")) == 0
    folder = place / "runs" / "b"
    assert not (folder / "map.png").exists() and (folder / "mapping.png").exists()
    assert "mAP against time steps" not in (folder / "report.html").read_text()
    monkeypatch.setattr("casc_det.studies.page.example", broken)
    assert main(words(place, "study", f"resume={folder}")) == 0  # the page fails as a whole
    assert not (folder / "report.html").exists() and json.loads((folder / "summary.json").read_text())["answers"]


NAMES = ("US$ a_^ $x", "$", "\\frac{$", "_hidden", "a\nb", "\ud800", "\u732b", "x" * 3000, "%s {}")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are(name):
    figure = plot_confusion(np.array([[3, 1], [0, 2]]), [name], name)
    ax = figure.axes[0]
    figure.canvas.draw()
    (text, _) = ax.get_xticklabels()
    assert not text._preprocess_math(text.get_text())[1]
    assert text._preprocess_math(text.get_text())[0].strip()[:20] in " ".join(name.split()).replace("\ud800", "")[:40]
    legend = figure.add_subplot()
    legend.plot([0, 1], [0, 1], label=plots.literal(name))
    assert len(legend.get_legend_handles_labels()[0]) == 1


def test_class_names_that_matplotlib_would_typeset(place, capsys):
    graph = load_graph(place / "net.safetensors")
    graph.names[:] = [NAMES[0], NAMES[6]]
    save_graph(graph, place / "net.safetensors")
    content = json.loads((place / "data.json").read_text())
    for category, name in zip(content["categories"], graph.names, strict=True):
        category["name"] = name
    (place / "data.json").rename(place / "US$ a_^ $x.json")
    (place / "US$ a_^ $x.json").write_text(json.dumps(content))
    shutil.copy(place / "net.safetensors", place / "_$^$.safetensors")
    for verb, figure in (("val", "confusion.png"), ("study", "map.png")):
        asked = [word for word in words(place, verb, f"name={verb}") if word.split("=")[0] not in ("data", "weights")]
        names = f"{place}/net.safetensors,{place}/_$^$.safetensors" if verb == "study" else f"{place}/_$^$.safetensors"
        assert main([*asked, f"data={place}/US$ a_^ $x.json", f"weights={names}"]) == 0
        assert "could not be" not in capsys.readouterr().err and (place / "runs" / verb / figure).exists()
