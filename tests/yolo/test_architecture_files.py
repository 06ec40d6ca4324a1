"""Architectures: only plain layers are built, of shipped files, own files and those in checkpoints."""
# ruff: noqa: F811  fixtures are imported

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import float_yolo
from safetensors.torch import save_file
from strangers import ACTIVATION, dataset, marker, spiking  # noqa: F401
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import YAML

from casc_det.cli.run import main
from casc_det.errors import WeightsError
from casc_det.graph.file import load_graph, save_graph
from casc_det.yolo.architecture import (
    is_plain_activation,
    is_plain_layer,
    read_architecture,
    shipped_architecture,
    shipped_files,
)
from casc_det.yolo.float_network import FloatNetwork


def own_yaml(folder: Path, **entries) -> Path:
    file = folder / "own.yaml"
    description = {k: v for k, v in yaml_model_load("yolov8n.yaml").items() if k not in ("scale", "yaml_file")}
    YAML.save(file, description | entries)
    return file


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov5nu.yaml", "yolov8x6.yaml", "yolov9t.yaml", "yolo26m.yaml"])
def test_shipped_architecture_is_what_ultralytics_reads(name):
    assert {**shipped_architecture(name), "yaml_file": 0} == {**yaml_model_load(name), "yaml_file": 0}


def test_every_shipped_detection_file_is_plain():
    for name in shipped_files():
        if "rtdetr" not in name and "world" not in name and not name.startswith("yoloe"):
            description = shipped_architecture(name)
            layers = [row[2] for row in (*description["backbone"], *description["head"])]
            assert [layer for layer in layers if not is_plain_layer(layer) and layer != "TorchVision"] == []


@pytest.mark.parametrize("name", [{}, None, 3, "../yolov8n.yaml", "/etc/x.yaml", "own.yaml", "coco.yaml", "yolov8n"])
def test_other_names_are_no_shipped_architecture(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_yaml(tmp_path)
    assert shipped_architecture(name) is None


def test_shipped_name_is_not_looked_up_in_the_working_folder(tmp_path, monkeypatch, marker):
    own_yaml(tmp_path, activation=ACTIVATION.format(marker)).rename(tmp_path / "yolov8n.yaml")
    monkeypatch.chdir(tmp_path)
    assert "activation" not in shipped_architecture("yolov8n.yaml")
    with pytest.raises(WeightsError, match="trust=true"):  # as train model= it is an own file
        read_architecture("yolov8n.yaml")


def float_state(folder: Path) -> Path:
    save_file(float_yolo("yolov8n").state_dict(), folder / "float.safetensors")
    return folder / "float.safetensors"


@pytest.mark.parametrize("form", ["dict", "path", "name"])
def test_architecture_of_metadata_is_a_shipped_name(tmp_path, marker, monkeypatch, form):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    monkeypatch.chdir(tmp_path)
    described = {"dict": YAML.load(own), "path": str(own), "name": own.name}[form]
    with pytest.raises(WeightsError, match="against: .*no architecture of Ultralytics"):
        FloatNetwork(float_state(tmp_path), described, ["a"] * 5)
    assert not marker.exists()
    assert FloatNetwork(float_state(tmp_path), "yolov8n.yaml", ["a"] * 5).strides == [8, 16, 32]


def test_metadata_of_a_graph_runs_nothing(tmp_path, marker, spiking, dataset, capsys):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    graph = load_graph(spiking, torch.float64)
    save_graph(replace(graph, meta=graph.meta | {"architecture": str(own)}), tmp_path / "evil.safetensors")
    words = [f"weights={tmp_path / 'evil.safetensors'}", f"data={dataset}", "imgsz=64", f"project={tmp_path}"]
    assert main(["val", *words, f"against={float_state(tmp_path)}"]) == 1
    assert "no architecture of Ultralytics" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("trust", ["false", "true"])
def test_own_yaml_with_activation_needs_trust(tmp_path, marker, dataset, trust, capsys):
    own = own_yaml(tmp_path, activation=ACTIVATION.format(marker))
    words = ["train", f"model={own}", f"data={dataset}", f"trust={trust}", "epochs=1", "imgsz=32", "plots=false"]
    code = main([*words, f"project={tmp_path / 'runs'}", "pretrained=nothing.pt"])
    said = capsys.readouterr().err
    assert code == 1 and not marker.exists() and "pretrained" in said  # stops before
    assert main([*words, f"project={tmp_path / 'runs'}", "val=false"]) == (0 if trust == "true" else 1)
    assert marker.exists() == (trust == "true") == (tmp_path / "runs").exists()
    assert ("activation" in capsys.readouterr().err) or trust == "true"


def test_own_yaml_without_activation_is_read_as_before(tmp_path):
    own = own_yaml(tmp_path)
    description = read_architecture(own)
    assert description == yaml_model_load(own)
    assert DetectionModel(description, verbose=False).yaml["scale"] == description["scale"]


@pytest.mark.parametrize(
    "layer", ["check_requirements", "load_checkpoint", "DetectionModel", "TorchVision", "nn.init", 3]
)
def test_own_yaml_with_another_layer_needs_trust(tmp_path, layer):
    rows = yaml_model_load("yolov8n.yaml")["backbone"]
    own = own_yaml(tmp_path, backbone=[[-1, 1, layer, ["x"]], *rows])
    with pytest.raises(WeightsError, match=rf"{layer}.*trust=true"):
        read_architecture(own)
    assert read_architecture(own, trust=True)["backbone"][0][2] == layer


def test_description_in_a_checkpoint_is_checked(tmp_path, marker, dataset, capsys):
    model = float_yolo("yolov8n")
    model.yaml = model.yaml | {"activation": ACTIVATION.format(marker)}
    torch.save({"model": model}, tmp_path / "x.pt")
    words = ["train", f"model={tmp_path / 'x.pt'}", f"data={dataset}", "epochs=1", "imgsz=32", f"project={tmp_path}"]
    assert main(words) == 1
    assert "activation" in (said := capsys.readouterr().err) and "trust=true" in said
    assert not marker.exists()


def test_plain_activation():
    assert all(map(is_plain_activation, ("nn.SiLU()", "torch.nn.ReLU()", "nn.LeakyReLU(0.1, inplace=True)")))
    for text in (
        "nn.SiLU",
        "nn.SiLU() or print()",
        "print()",
        "nn.X()",
        "nn.ReLU(print())",
        "nn.ReLU(*[1])",
        {},
        "a\n",
    ):
        assert not is_plain_activation(text)
