"""An op that no engine knows runs in both, by the rules it brings."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import small_graph, small_images
from torch.nn import functional as F

from casc_det import graph as g
from casc_det.conversion.spiking import convert_graph
from casc_det.simulation import SimulationSettings, simulate
from casc_det.simulation.twin import ann_forward


@dataclass(frozen=True, eq=False, repr=False)
class Flip(g.Upsample.__mro__[1]):
    """Rows upside down: it moves values, without a fast form of its own."""

    def compute(self, x, *others):
        return x.flip(2)

    def out_channels(self, parts):
        return parts[0]

    def extent(self, before, axis):
        return before


@dataclass(frozen=True, eq=False, repr=False)
class LeakyReLU(g.Pointwise.__mro__[1]):
    """A function of sums, sent as temporal difference; graded."""

    spiking = g.Spiking.TEMPORAL
    graded = True

    def compute(self, x, *others):
        return F.leaky_relu(x - 1, 0.25)

    def amplitude(self, parts):
        return parts[0]

    def bound(self, parts):
        return parts[0] + 1


@pytest.mark.parametrize("kind", [Flip, LeakyReLU])
def test_both_engines_run_it_and_come_to_the_ann(kind):
    graph, images = convert_graph(small_graph("conv", "add"))[0], small_images()
    (node,) = graph.of_type(g.Add)
    new = kind("new", (node.name,))
    nodes = [replace(x, inputs=tuple("new" if i == node.name else i for i in x.inputs)) for x in graph.nodes]
    at = graph.nodes.index(node) + 1
    graph = replace(graph, nodes=[*nodes[:at], new, *nodes[at:]])
    steps = [list(simulate(graph, images, 30, SimulationSettings(engine))) for engine in ("fast", "reference")]
    for a, b in zip(*steps, strict=True):
        assert torch.equal(a.fired, b.fired) and torch.equal(a.sops_by_layer, b.sops_by_layer)
        assert all(torch.equal(x, b.readout[name]) for name, x in a.readout.items())
    ann = ann_forward(graph, images)
    assert steps[0][-1].quiescent.all() and all(torch.equal(steps[0][-1].counts[k], n) for k, n in ann.counts.items())
    assert all(torch.equal(steps[0][-1].readout[k], y) for k, y in ann.readout.items())
