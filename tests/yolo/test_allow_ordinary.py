"""Ordinary checkpoints are read without trust, with every value in them."""

from pathlib import Path

import pytest
import torch
from conftest import live_yolo
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import IterableSimpleNamespace

from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.unpickle import load

ORDINARY = (
    "yolov3-tiny",
    "yolov5n",
    "yolov6n",
    "yolov8n",
    "yolov8n-ghost",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo26n",
)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_checkpoints_need_no_trust(tmp_path, name):
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    model.args = IterableSimpleNamespace(imgsz=64)
    model.criterion = model.init_criterion()
    import numpy as np

    content = {"model": None, "ema": model.half(), "best_fitness": np.float64(0.5), "train_args": {"imgsz": 64}}
    torch.save(content | {"save_dir": Path("runs")}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert load(tmp_path / "x.pt")["best_fitness"] == 0.5
    for (key, value), (other, expected) in zip(found.state_dict().items(), model.state_dict().items(), strict=True):
        assert key == other and torch.equal(value, expected.to(value.dtype))


@pytest.mark.parametrize("name", ["yolov8n", "yolov10n"])
def test_folded_checkpoint_needs_no_trust(tmp_path, name):
    model = DetectionModel(f"{name}.yaml", nc=3, verbose=False).eval().fuse(verbose=False)
    torch.save({"model": model, "train_args": {}}, tmp_path / "x.pt")
    found, images = read_checkpoint(tmp_path / "x.pt").eval(), torch.rand(1, 3, 64, 64)
    assert torch.equal(found(images)[0], model(images)[0])
    assert found.model[0].forward.__self__ is found.model[0]


def test_checkpoint_with_cqrelu_needs_no_trust(tmp_path):
    model, images = live_yolo("yolov8n")
    own = CQReLUModel("yolov8n.yaml", nc=5, verbose=False)
    own.model = model.model
    torch.save({"model": own.eval(), "train_args": {}}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert type(found) is CQReLUModel
    assert torch.equal(found(images.float())[0], own.float()(images.float())[0])
    model.double()
