"""What conversion refuses is refused before training, and networks with values that are no numbers never convert."""

import math
from copy import deepcopy

import pytest
import torch
from conftest import float_yolo, live_yolo
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from casc_det.conversion.integer import integer_problem, to_integer
from casc_det.errors import ArgumentError, CascError, ConversionError, WeightsError
from casc_det.training.convertible import check_convertible
from casc_det.training.run import train
from casc_det.yolo.checkpoint import check_answer, read_state
from casc_det.yolo.convert import convert
from casc_det.yolo.float_network import FloatNetwork
from casc_det.yolo.install import cqrelu_sites, install_cqrelu
from casc_det.yolo.weights import is_spiking

NAN, INF = math.nan, math.inf
SPOILED = {  # what is put where; layer 2.cv1 is one with BatchNorm
    "weight": (lambda m: m.model[2].cv1.conv.weight.data[0, 0, 0], NAN, "'model.2.cv1.conv' has values of weight"),
    "bias": (lambda m: m.model[22].cv2[0][2].bias.data, INF, "'model.22.cv2.0.2' has values of bias"),
    "NaN variance": (lambda m: m.model[2].cv1.bn.running_var, NAN, "'model.2.cv1.bn' has values of statistics"),
    "negative variance": (lambda m: m.model[2].cv1.bn.running_var, -1.0, "'model.2.cv1.bn' has values of statistics"),
    "infinite mean": (lambda m: m.model[2].cv1.bn.running_mean, INF, "'model.2.cv1.bn' has values of shift"),
    "NaN clip": (lambda m: cqrelu_sites(m)[3].lam.data, NAN, "has values of clip"),
    "infinite clip": (lambda m: cqrelu_sites(m)[3].lam.data, INF, "has values of clip"),
    "clip 0": (lambda m: cqrelu_sites(m)[3].lam.data, 0.0, "has the clip lam=0,"),
    "negative clip": (lambda m: cqrelu_sites(m)[3].lam.data, -0.5, "has the clip lam=-0.5"),
}


@pytest.mark.parametrize(("place", "value", "words"), SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("precision", ["integer", "float"])
def test_values_that_are_no_numbers_are_refused_naming_the_layer(place, value, words, precision):
    model = live_yolo("yolov8n")[0]
    place(model).fill_(value)
    with pytest.raises(ConversionError, match=words) as caught:
        convert(model, 64, precision)
    assert "convert an earlier checkpoint" in str(caught.value)


@pytest.mark.parametrize("precision", ["integer", "float"])
def test_channels_that_are_switched_off_are_zeros(precision):
    """An infinite variance and a BatchNorm scale of 0 are numbers that a network may have."""
    model = live_yolo("yolov8n")[0]
    norm = model.model[2].cv1.bn
    norm.running_var.fill_(INF)
    norm.weight.data.fill_(0)
    graph = convert(model, 64, precision).graph
    assert not next(node for node in graph.nodes if node.name == "model_2_cv1_conv").weight.any()


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
        install_cqrelu(model, 4)
        convert(model, 64)


@pytest.mark.parametrize("name", ["yolov8n-ghost.yaml", "yolov6n.yaml", "yolov8n-seg.yaml"])
def test_training_refuses_what_could_not_be_converted_before_a_run_folder_is_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CascError, match="^model: ") as caught:
        train(model=name, data="coco8.yaml", epochs=1, imgsz=64)
    assert list(tmp_path.iterdir()) == []
    if "ghost" in name:
        assert "'model_2_m_0_conv_2_cv1_conv' drives Slice, expected one CQReLU" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizer": "Nonsense"}, "train: Optimizer 'Nonsense' not found"),
        ({"fraction": 1e-9}, "train: final batch=1 training at imgsz=32"),
        ({"split": "test"}, "split: the data set has no 'test'"),
        ({"classes": [1]}, r"classes: the data set has no class 1; its names are 0\.\.0"),
        ({"classes": 7}, "classes: the data set has no class 7"),
        ({"freeze": 23}, "train: 'freeze=23' froze the entire model"),
        ({"model": "yolov3-tiny.yaml", "batch": 2}, "imgsz: images of 32 pixels give this network 5 places"),
    ],
)
def test_training_refuses_other_arguments_in_one_line_and_leaves_nothing(arguments, words, tmp_path):
    data = tmp_path / "data"
    for part in ("images", "labels"):
        (data / part).mkdir(parents=True)
    for name in "abcd":
        Image.new("RGB", (32, 32), "red").save(data / "images" / f"{name}.png")
        (data / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (data / "d.yaml").write_text(f"path: {data}\ntrain: images\nval: images\nnames: [thing]\n")
    given = {"data": str(data / "d.yaml"), "epochs": 1, "imgsz": 32, "workers": 0}
    arguments = {"model": "yolov8n.yaml"} | arguments
    with pytest.raises(ArgumentError, match=f"^{words}") as caught:
        train(**given, plots=False, project=str(tmp_path / "runs"), **arguments)
    assert "\n" not in str(caught.value) and sorted(path.name for path in tmp_path.iterdir()) == ["data"]


TAMPERED = {
    "padding mode": lambda m: setattr(m.model[0].conv, "padding_mode", "none"),
    "scale": lambda m: setattr(m.model[10], "scale_factor", "two"),
    "index": lambda m: setattr(m.model[12], "f", [-1, "x"]),
    "head": lambda m: m.model.__setitem__(-1, torch.nn.Identity()),
    "classes": lambda m: setattr(m.model[-1], "nc", 99),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_checkpoints_that_do_not_hold_together_are_one_line(change, tmp_path):
    model = float_yolo("yolov8n", 1)
    change(model)
    torch.save({"model": model, "train_args": {}}, tmp_path / "x.pt")
    for use in (
        lambda file: train(model="yolov8n.yaml", data="d.yaml", teacher=file),
        lambda file: FloatNetwork(file, "yolov8n.yaml", ["a"]),
    ):
        with pytest.raises(CascError, match=r"(teacher|against): .* (holds no detector|is no Ultralytics)") as caught:
            use(str(tmp_path / "x.pt"))
        assert "\n" not in str(caught.value)
    with pytest.raises(CascError) as caught:
        convert(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "yolov10n", "yolov3-tiny", "yolov8n-p6", "yolo26n"])
def test_ordinary_networks_answer(name):
    check_answer(float_yolo(name).eval(), "x.pt", "teacher")
    check_answer(float_yolo(name).fuse(verbose=False).eval(), "x.pt", "teacher")


def test_what_the_check_refuses_is_what_conversion_refuses():
    ghost = float_yolo("yolov8n-ghost")
    with pytest.raises(ConversionError, match="could not be converted"):
        check_convertible(ghost, "yolov8n-ghost.yaml")
    assert not cqrelu_sites(ghost)  # it is left as it is
    install_cqrelu(ghost, 4)
    real = convert(ghost, 64, "float").graph
    assert integer_problem(real) is not None
    with pytest.raises(ConversionError, match="drives Slice, .*use precision=float"):
        to_integer(real)


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov8n"])
def test_what_can_be_converted_is_let_through(name):
    check_convertible(float_yolo(name), name)
    check_convertible(live_yolo(name)[0], name)


def test_damaged_state_dicts_are_refused_in_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(4), "model.b": torch.tensor([1.0, NAN])}, path)
    with pytest.raises(WeightsError, match="values of 'model.b' that are not finite"):
        read_state(path)
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:7],
        whole[:-1],
        whole + b"x",
        (2**40).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"[" * 50,
    ):
        path.write_bytes(content)
        assert not is_spiking(path)
        with pytest.raises(WeightsError) as caught:
            read_state(path)
        assert "\n" not in str(caught.value)
