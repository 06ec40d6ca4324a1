"""Checkpoints that were written when our classes were in other modules."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import live_yolo

from casc_det import convert
from casc_det.neurons.activation import CQReLU
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.install import cq_sites
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.pickles import named

FORMER = {CQReLU: "casc_det.activation", CQReLUModel: "casc_det.yolo.train"}


@pytest.fixture
def former(tmp_path, monkeypatch) -> Path:
    """A checkpoint of a network with CQReLU as casc_det 0.1 pickled it."""
    own = CQReLUModel("yolov8n.yaml", nc=5, verbose=False).double()
    own.model = live_yolo("yolov8n")[0].model
    for kind, place in FORMER.items():
        module = ModuleType(place)
        setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, place, module)
        monkeypatch.setattr(kind, "__module__", place)
    torch.save({"model": own.eval(), "train_args": {"imgsz": 64}}, tmp_path / "former.pt")
    monkeypatch.undo()
    assert {f"{place}.{kind.__name__}" for kind, place in FORMER.items()} < set(named(tmp_path / "former.pt"))
    assert not set(FORMER.values()) & sys.modules.keys()
    return tmp_path / "former.pt"


@pytest.mark.parametrize("trust", [False, True])
def test_former_names_are_our_classes(former, trust):
    found, (model, images) = read_checkpoint(former, trust), live_yolo("yolov8n")
    assert type(found) is CQReLUModel and {type(site) for site in cq_sites(found)} == {CQReLU}
    assert torch.equal(found(images.float())[0], model.float()(images.float())[0])
    assert not set(FORMER.values()) & sys.modules.keys()  # nothing stays of the former modules


def test_former_checkpoint_converts(former):
    assert convert(former).graph.integer
