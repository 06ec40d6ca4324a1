"""What a training quantises: what is asked for, against what it starts from."""

import pytest
import torch
from conftest import float_yolo
from torch import nn

from casc_det import convert
from casc_det.errors import ArgumentError, CascError
from casc_det.training.convertible import check_architecture
from casc_det.training.run import train
from casc_det.training.start import Start, check_activation, settled, start_of
from casc_det.yolo.calibrate import calibrate_clips
from casc_det.yolo.install import install_cq


@pytest.mark.parametrize(
    ("asked", "start", "chosen"),
    [
        (None, Start(["silu"]), "relu"),
        ("relu", Start(["silu"]), "relu"),
        ("keep", Start(["silu"]), "keep"),
        ("silu", Start(["silu"]), "keep"),
        ("relu", Start(["relu"]), "relu"),
        ("keep", Start(["silu", "relu"]), "keep"),
        (None, Start(["silu"], "keep"), "keep"),
        ("silu", Start(["silu"], "keep"), "keep"),
        (None, Start(["relu"], "relu"), "relu"),
        ("keep", Start(["relu"], "relu"), "relu"),
        ("relu", Start(["relu"], "keep"), "keep"),
    ],
)
def test_activation_is_settled_by_what_there_is(asked, start, chosen):
    assert settled(asked, start) == chosen


@pytest.mark.parametrize(
    ("asked", "start", "words"),
    [
        ("silu", Start(["leaky_relu(0.1)"]), "expected keep or relu for a network of leaky_relu.0.1., got silu"),
        ("silu", Start(["silu", "relu"]), "expected keep or relu for a network of silu, relu, got silu"),
        ("relu", Start(["silu"], "keep"), "expected keep for a network of quantised silu, got relu"),
        ("silu", Start(["relu"], "relu"), "expected keep for a network of quantised relu, got silu"),
    ],
)
def test_activation_that_a_network_does_not_have_is_refused(asked, start, words):
    with pytest.raises(ArgumentError, match=f"^activation: {words}$"):
        settled(asked, start)


@pytest.mark.parametrize("activation", ["sillu", "softplus", "", 3, "leaky_relu(x)"])
def test_activation_that_nobody_knows_is_refused_before_anything_is_read(activation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="^activation: .*; or keep, what the network has$") as caught:
        train(model="yolov8n.yaml", data="none.yaml", activation=activation)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    check_activation("leaky_relu(0.1)")


def test_start_is_found_in_networks_checkpoints_and_graphs(tmp_path):
    network = float_yolo("yolov8n")
    assert start_of(network) == Start(["silu"])
    torch.save({"model": network, "train_args": {}}, tmp_path / "float.pt")
    assert start_of(network, tmp_path / "float.pt") == Start(["silu"])
    for activation, functions in (("keep", ["silu"]), ("relu", ["relu"])):
        model = float_yolo("yolov8n")
        install_cq(model, 4, activation)
        calibrate_clips(model, [torch.rand(2, 3, 64, 64)])
        torch.save({"model": model, "train_args": {}}, tmp_path / "cq.pt")
        graph = convert(model, 64).save(tmp_path / "cq.safetensors")
        for found in (start_of(model), start_of(network, tmp_path / "cq.pt"), start_of(network, graph)):
            assert found == Start(functions, activation)


def test_weights_of_other_functions_than_the_architectures_have_none_to_keep(tmp_path):
    network = float_yolo("yolov8n")
    for module in list(network.modules()):
        if isinstance(getattr(module, "act", None), nn.SiLU):
            module.act = nn.Mish()
    torch.save({"model": network, "train_args": {}}, tmp_path / "mish.pt")
    check_architecture("yolov8n.yaml", weights=tmp_path / "mish.pt", activation="relu")
    with pytest.raises(ArgumentError, match="^activation: '.*mish.pt' has mish, 'yolov8n.yaml' silu, .*use relu, or"):
        check_architecture("yolov8n.yaml", weights=tmp_path / "mish.pt", activation="keep")


def test_a_network_with_an_activation_nobody_knows_is_named(tmp_path):
    network = float_yolo("yolov8n")
    network.model[3].act = nn.Softplus()
    torch.save({"model": network, "train_args": {}}, tmp_path / "plus.pt")
    for activation in ("keep", "relu"):
        with pytest.raises(CascError, match="^model: layer 'model.3.act' has the activation Softplus; known are SiLU"):
            check_architecture(tmp_path / "plus.pt", activation=activation)
