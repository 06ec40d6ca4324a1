"""`study` and `casc-det study`: what cannot work is refused before anything is made; the verb says what came."""

import json
import shutil
from pathlib import Path

import pytest

from casc_det import study
from casc_det.cli.run import main
from casc_det.errors import ArgumentError
from casc_det.graph.file import load_graph, save_graph
from casc_det.neurons import NEURONS
from casc_det.neurons.rule import neuron_step


def test_own_neurons_are_refused_before_anything_is_made(tiny_weights, tiny_coco, tmp_path, monkeypatch):
    monkeypatch.setitem(NEURONS, "mine", neuron_step)
    with pytest.raises(ArgumentError, match="^neuron: 'mine' is an own kind"):
        study(
            tiny_weights,
            tiny_coco,
            timesteps="1..4",
            neurons="cif,mine",
            images=tiny_coco.parent,
            project=tmp_path / "runs",
            imgsz=64,
        )
    assert not (tmp_path / "runs").exists()


def test_weights_whose_classes_do_not_fit_are_named(tiny_weights, tiny_coco, tmp_path):
    graph = load_graph(tiny_weights)
    graph.names[:] = [f"other {k}" for k in range(len(graph.names))]
    save_graph(graph, tmp_path / "other.safetensors")
    with pytest.raises(ArgumentError, match=r"the model of weights=.*other\.safetensors ") as caught:
        study(
            f"{tiny_weights},{tmp_path / 'other.safetensors'}",
            tiny_coco,
            timesteps="1..4",
            images=tiny_coco.parent,
            imgsz=64,
            limit=1,
        )
    assert "map=" not in str(caught.value)


def test_images_that_cannot_be_used_are_named_and_left_out_before_the_study(tiny_weights, tiny_coco, tmp_path, capsys):
    content = json.loads(tiny_coco.read_text())
    for image in content["images"]:
        shutil.copy(tiny_coco.parent / image["file_name"], tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:500])
    (tmp_path / "2.png").unlink()
    words = ["study", f"data={tiny_coco}", f"images={tmp_path}", f"weights={tiny_weights}", "timesteps=4", "imgsz=64"]
    assert main([*words, f"project={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert (
        "2.png: listed, but the picture is absent; skipped" in error and "1.png: cannot be read as a picture" in error
    )
    assert "2 files could not be used" in error
    assert json.loads((tmp_path / "study/summary.json").read_text())["damaged"] == 2
    assert main([*words, f"project={tmp_path}", "strict=false"]) == 0
    (tmp_path / "0.png").write_bytes(b"")
    assert main([*words, f"project={tmp_path}/none"]) == 1
    assert "data: none of the images can be read" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_study_verb(tiny_weights, tiny_coco, tmp_path, capsys):
    words = [
        "study",
        f"data={tiny_coco}",
        f"images={tiny_coco.parent}",
        f"weights={tiny_weights}",
        "timesteps=2,4,12",
        "limit=1",
    ]
    assert main([*words, "imgsz=64", "policies=quiescent", f"project={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert (
        "of the ANN's mAP50-95" in out
        and "cell; T (mJ an image)" in out
        and (tmp_path / "study" / "report.html").is_file()
    )
    again = [*words, "imgsz=64", "policies=quiescent", f"resume={tmp_path / 'study'}", "levels=2,4"]
    assert main(again) == 0 and "live at Q = 2 " in capsys.readouterr().out
    for bad, message in (
        ("neurons=lif", "neurons: expected"),
        ("device=tpu", "device: expected cpu, cuda"),
        ("mac_pj=x", "mac_pj: expected a number"),
        ("policies=", "policies: expected a text, got nothing"),
        ("policies=foo", "policies: expected quiescent"),
    ):
        assert main([word for word in words if word.split("=")[0] != bad.split("=")[0]] + [bad]) == 1
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"casc-det: {message}")


@pytest.mark.parametrize("first", ["x.json", Path("d.yaml"), "."])
def test_data_given_as_weights_is_noticed(first):
    with pytest.raises(ArgumentError, match="^data: missing; .* is given as weights= but looks like data: write data="):
        study(first)
