from pathlib import Path

import pytest
import torch
from torch import nn

from casc_det import graph as g
from casc_det.errors import ConversionError
from casc_det.graph import ops

X = torch.randn(2, 6, 9, 11, generator=torch.Generator().manual_seed(0))
MODULES = {
    "max": (g.MaxPool("x", ("a",), (3, 2), (2, 1), (1, 0), (1, 2)), nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2))),
    "max ceil": (g.MaxPool("x", ("a",), (2, 2), (2, 2), ceil_mode=True), nn.MaxPool2d(2, 2, ceil_mode=True)),
    "average": (g.AvgPool("x", ("a",), (3, 2), (2, 1), (1, 0)), nn.AvgPool2d((3, 2), (2, 1), (1, 0))),
    "upsample": (g.Upsample("x", ("a",), (3, 2)), nn.Upsample(scale_factor=(3.0, 2.0))),
    "pad": (g.ZeroPad("x", ("a",), (1, 2, 3, 4)), nn.ZeroPad2d((1, 2, 3, 4))),
    "sigmoid": (g.Pointwise("x", ("a",), "sigmoid", torch.ones(6, 1, 1)), nn.Sigmoid()),
    "tanh": (g.Pointwise("x", ("a",), "tanh", torch.ones(6, 1, 1)), nn.Tanh()),
    "hardsigmoid": (g.Pointwise("x", ("a",), "hardsigmoid", torch.ones(6, 1, 1)), nn.Hardsigmoid()),
}


@pytest.mark.parametrize(("node", "module"), MODULES.values(), ids=MODULES)
def test_op_equals_the_torch_module(node, module):
    assert torch.equal(node.compute(X), module(X))


def test_pointwise_scales_each_channel_first():
    scale = torch.arange(6.0).view(6, 1, 1)
    assert torch.equal(g.Pointwise("x", ("a",), "tanh", scale).compute(X)[:, 3], torch.tanh(3 * X[:, 3]))


def test_add_concat_and_slice():
    assert torch.equal(g.Add("x", ("a", "b")).compute(X, 2 * X), X + 2 * X)
    both = g.Concat("x", ("a", "b")).compute(X, 2 * X)
    assert torch.equal(both[:, :6], X) and torch.equal(both[:, 6:], 2 * X)
    assert torch.equal(g.Slice("x", ("a",), 2, 5).compute(X), X[:, 2:5])


def test_convolve_leaves_the_bias_out():
    module = nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 2), (2, 1), groups=2)
    node = g.Conv("x", ("a",), module.weight.detach(), torch.full((4,), 7.0), (2, 1), (1, 2), (2, 1), 2)
    with torch.no_grad():
        torch.testing.assert_close(node.compute(X) + module.bias.view(1, -1, 1, 1), module(X))


def test_node_without_rule_is_an_error():
    with pytest.raises(ConversionError, match=r"node 'x' \(Readout\) has no rule 'compute'"):
        g.Readout("x", ("a",)).compute(X)


def test_each_op_is_a_file():
    files = {path.stem for path in Path(ops.__file__).parent.glob("*.py")} - {"__init__"}
    assert {kind.__module__.rpartition(".")[2] for kind in g.NODE_TYPES.values()} == files
    assert len(files) == len(g.NODE_TYPES)
