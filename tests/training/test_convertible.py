"""What conversion refuses is refused before training."""

from copy import deepcopy

import pytest
import torch
from conftest import float_yolo, live_yolo
from safetensors.torch import save_file
from torch.nn import functional as F

from casc_det.conversion.integer import integer_problem, to_integer
from casc_det.errors import CascError, ConversionError, WeightsError
from casc_det.training.convertible import check_architecture
from casc_det.training.run import train
from casc_det.yolo.convert import convert
from casc_det.yolo.convertible import check_convertible
from casc_det.yolo.install import cq_sites, install_cq


class Hidden(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


FORMS = {
    "F.relu": F.relu, "F.silu": F.silu, "torch.relu": torch.relu, "F.hardtanh": F.hardtanh, "F.relu6": F.relu6,
    "clamp": lambda x: x.clamp(min=0), "torch.clamp": lambda x: torch.clamp(x, min=0), "relu": lambda x: x.relu(),
    "relu_": lambda x: x.relu_(), "product": lambda x: x * x.sigmoid(), "maximum": lambda x: torch.maximum(x, x * 0),
}  # fmt: skip


@pytest.mark.parametrize("function", FORMS.values(), ids=FORMS)
def test_activations_that_are_called_as_functions_are_never_lost(function):
    model = deepcopy(float_yolo("yolov8n"))
    model.model[3].act = Hidden(function)
    with pytest.raises(ConversionError, match="function|no op on integers"):
        install_cq(model, 4, "relu")
        convert(model, 64)


@pytest.mark.parametrize("name", ["yolov8n-ghost.yaml", "yolov6n.yaml", "yolov8n-seg.yaml"])
def test_training_refuses_what_could_not_be_converted_before_a_run_folder_is_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CascError, match="^model: ") as caught:
        train(model=name, data="coco8.yaml", epochs=1, imgsz=64)
    assert list(tmp_path.iterdir()) == []
    if "ghost" in name:
        assert "'model_2_m_0_conv_2_cv1_conv' drives Slice, expected one activation" in str(caught.value)


def test_what_the_check_refuses_is_what_conversion_refuses():
    ghost = float_yolo("yolov8n-ghost")
    with pytest.raises(ConversionError, match="could not be converted"):
        check_convertible(ghost, "yolov8n-ghost.yaml")
    assert not cq_sites(ghost)  # it is left as it is
    install_cq(ghost, 4, "relu")
    real = convert(ghost, 64, "float").graph
    assert integer_problem(real) is not None
    with pytest.raises(ConversionError, match="drives Slice, .*use precision=float"):
        to_integer(real)


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov8n"])
def test_what_can_be_converted_is_let_through(name):
    check_convertible(float_yolo(name), name)
    check_convertible(live_yolo(name)[0], name)


def test_weights_of_another_architecture_are_refused_those_of_other_classes_are_not(tmp_path):
    for name, classes in (("yolov8n", 5), ("yolov5n", 80)):
        state = float_yolo(name, classes).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / f"{name}.safetensors")
    check_architecture("yolov8n.yaml", weights=tmp_path / "yolov8n.safetensors")
    words = "yolov5n.safetensors' has no value for .* of .* tensors of yolov8.*%.*weights of another architecture"
    with pytest.raises(WeightsError, match=words):
        check_architecture("yolov8n.yaml", weights=tmp_path / "yolov5n.safetensors")


def test_training_and_conversion_name_the_block_that_cannot_be_converted():
    model = float_yolo("yolo11n")
    words = r"ops in C2PSA/Attention \(model.10\) have no spiking .*; use yolov3-tiny, yolov5 or yolov8$"
    for refuse in (lambda: check_architecture("yolo11n.yaml"), lambda: convert(model, 64)):
        with pytest.raises(ConversionError, match=words) as caught:
            refuse()
        assert str(caught.value).count("use yolov3-tiny") == 1 and "CQReLU first" not in str(caught.value)
