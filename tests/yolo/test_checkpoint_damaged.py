"""Checkpoints and state dicts that are damaged, or do not hold together, are refused in one line."""

import math

import pytest
import torch
from conftest import float_yolo
from safetensors.torch import save_file

from casc_det.errors import CascError, WeightsError
from casc_det.training.run import train
from casc_det.yolo.checkpoint import check_answer, read_state
from casc_det.yolo.convert import convert
from casc_det.yolo.float_network import FloatNetwork
from casc_det.yolo.weights import is_spiking

NAN, INF = math.nan, math.inf


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
