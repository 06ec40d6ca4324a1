"""Rules of capture: each op computes what torch computes, and what has no rule is listed."""

import copy

import pytest
import torch
from conftest import live_yolo
from torch import nn
from ultralytics.nn.modules import Detect

from casc_det.conversion.audit import REFUSED, audit
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cq_sites
from casc_det.yolo.rules import MODULES
from casc_det.yolo.trace import HEADS


class Roll(nn.Module):
    def forward(self, x):
        return torch.roll(x, 1, 2)


class Reversed(nn.Module):
    """The parts that `chunk` or `split` makes, in reverse order."""

    def __init__(self, method, amount):
        super().__init__()
        self.method, self.amount = method, amount

    def forward(self, x):
        return torch.cat(tuple(reversed(getattr(x, self.method)(self.amount, 1))), 1)


CAPTURED = {
    "max pool": nn.Sequential(nn.MaxPool2d(3, 1, 1, dilation=2), nn.ZeroPad2d(1)),
    "ceil mode": nn.Sequential(nn.MaxPool2d((5, 4), (2, 3), (1, 2), ceil_mode=True), nn.Upsample(scale_factor=2)),
    "average pool": nn.Sequential(nn.AvgPool2d((2, 3), 1, (1, 0)), nn.ZeroPad2d((2, 0, 0, 0))),
    "nothing": nn.Sequential(nn.Identity(), nn.Dropout()),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "hardsigmoid": nn.Hardsigmoid(),
    "chunk": Reversed("chunk", 3),
    "split": Reversed("split", (5, 1, 10)),
}


@pytest.mark.parametrize("module", CAPTURED.values(), ids=CAPTURED)
def test_captured_op_computes_what_torch_computes(module):
    model, images = live_yolo("yolov3-tiny")
    model = copy.deepcopy(model)
    model.model[0].act = nn.Sequential(model.model[0].act, module.eval())
    spiking, _ = convert_graph(capture(model))
    answer = ann_forward(spiking, images).readout
    with torch.no_grad():
        raw = model(images)[1]["scores"]
    maps = [answer[f"scores{level}"].flatten(2) for level in range(2)]
    torch.testing.assert_close(torch.cat(maps, 2), raw, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("module", "op"), [(nn.GELU(), "activation GELU"), (nn.LayerNorm(6), "module LayerNorm"), (Roll(), "function roll")]
)
def test_unsupported_op_is_listed_and_the_others_too(module, op):
    model = live_yolo("yolov8n")[0]
    complete = audit(capture(model))
    model.model[0].act = module
    rows = audit(capture(model))
    assert [row.op for row in rows if row.status == REFUSED] == [op]
    assert next(row.note for row in rows if row.status == REFUSED)
    assert len(rows) == len(complete)


def test_padding_that_is_not_zero_is_listed():
    model = live_yolo("yolov3-tiny")[0]
    model.model[0].conv.padding_mode = "reflect"
    refused = [row for row in audit(capture(model)) if row.status == REFUSED]
    assert refused[0].op.startswith("Conv2d with padding reflect")


def test_mixed_activation_is_refused():
    model = live_yolo("yolov3-tiny")[0]
    cq_sites(model)[3].alpha = 0.5
    refused = [row for row in audit(capture(model)) if row.status == REFUSED]
    assert [row.op for row in refused] == ["CQReLU with alpha=0.5"] and "alpha" in refused[0].note


def with_first_layer(module):
    """yolov3-tiny with CQReLU whose first max pool is replaced by `module`."""
    model = live_yolo("yolov3-tiny")[0]
    old = model.model[1]
    module.i, module.f, module.type, module.np = old.i, old.f, old.type, old.np
    model.model[1] = module
    return model.eval()


class Named(nn.Module):
    """Arguments by name, a BatchNorm without scale, upsampling by a pair: all of it must be read rightly."""

    def __init__(self):
        super().__init__()
        self.pool, self.up = nn.MaxPool2d(4), nn.Upsample(scale_factor=(2, 2))
        self.conv, self.norm = nn.Conv2d(16, 16, 1).double(), nn.BatchNorm2d(16, affine=False).double()

    def forward(self, x):
        a, b = self.up(self.pool(x)).chunk(chunks=2, dim=1)
        return self.norm(self.conv(torch.cat(tensors=[b, a], dim=1)))


def test_arguments_by_name_are_understood():
    model = with_first_layer(Named())
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    readout = ann_forward(convert_graph(capture(model))[0], images).readout
    expected = model(images)[1]["boxes"]
    mine = torch.cat([readout[f"boxes{i}"].flatten(2) for i in range(2)], 2)
    assert torch.allclose(mine, expected, rtol=0, atol=1e-9)


def test_scaled_addition_is_refused():
    class Scaled(nn.Module):
        def forward(self, x):
            return torch.add(x, x, alpha=2)

    refused = [row for row in audit(capture(with_first_layer(Scaled()))) if row.status == REFUSED]
    assert [row.op for row in refused] == ["function add"]


def test_a_new_module_is_one_entry(monkeypatch):
    model = with_first_layer(nn.Dropout2d())
    assert [row.op for row in audit(capture(model)) if row.status == REFUSED] == ["module Dropout2d"]
    monkeypatch.setitem(MODULES, nn.Dropout2d, MODULES[nn.Dropout])
    assert not [row for row in audit(capture(model)) if row.status == REFUSED]


def test_a_new_head_is_one_entry(monkeypatch):
    class Last(Detect):
        pass

    model = live_yolo("yolov8n")[0]
    plain = capture(model)
    model.model[-1].__class__ = Last
    with pytest.raises(ConversionError, match="head is Detect, got Last"):
        capture(model)
    monkeypatch.setitem(HEADS, Last, HEADS[Detect])
    graph = capture(model)
    assert [node.name for node in graph.nodes] == [node.name for node in plain.nodes] and graph.strides == plain.strides
