"""What a step counts: spikes sent and taken back, synaptic operations."""

from functools import partial

import conftest
import pytest
import torch
from conftest import small_images
from simulated import spiking

from casc_det import graph as g

simulate = partial(conftest.simulate, engine="reference")  # tests/simulation/test_fast.py holds the fast one to it


def test_spikes_sent_and_taken_back_are_the_changes_of_the_counts():
    graph, images = spiking("add", "conv", "max"), small_images()
    before, taken_back = dict.fromkeys((n.name for n in graph.of_type(g.Neuron)), 0), 0
    for step in simulate(graph, images):
        for name, n in step.counts.items():
            change = n - before[name]
            assert step.positive[name].tolist() == (change == 1).sum((1, 2, 3)).tolist()
            assert step.negative[name].tolist() == (change == -1).sum((1, 2, 3)).tolist()
            assert change.abs().max() <= 1
            taken_back += int(step.negative[name].sum())
        before = step.counts
    assert taken_back > 10  # otherwise this network would be too tame to test anything


def plain_sops(node: g.Conv, spikes: torch.Tensor, outputs: torch.Size) -> float:
    """Spikes times synapses of one image (C, H, W), synapse by synapse."""
    total = 0.0
    channels_out, _, kernel_h, kernel_w = node.weight.shape
    for _, y, x in spikes.nonzero().tolist():
        for ky in range(kernel_h):
            for kx in range(kernel_w):
                row, left = divmod(y + node.padding[0] - ky * node.dilation[0], node.stride[0])
                column, above = divmod(x + node.padding[1] - kx * node.dilation[1], node.stride[1])
                if not left and not above and 0 <= row < outputs[0] and 0 <= column < outputs[1]:
                    total += channels_out // node.groups
    return total


@pytest.mark.parametrize("ops", [("conv",), ("groups",), ("conv", "groups")])
def test_sops_equal_a_brute_force_count(ops):
    """Convolution after convolution, so that the spikes are the changes of the counts; the first has no spikes."""
    graph, images = spiking(*ops), small_images(1)
    convs = [node for node in graph.of_type(g.Conv) if node.inputs[0] != "image"]
    before, seen = {}, 0.0
    for step in simulate(graph, images, 8):
        expected = 0.0
        for node in convs:
            n = step.counts[node.inputs[0]]
            outputs = node.compute(n).shape[2:]
            expected += plain_sops(node, (n - before.get(node.inputs[0], 0))[0], outputs)
        assert step.sops.tolist() == [expected]
        before, seen = step.counts, seen + expected
    assert seen > 100


def test_sops_count_graded_signals_by_magnitude():
    weight = torch.ones(4, 3, 1, 1).double()
    nodes = [
        g.Input("image", ()),
        g.Conv("first", ("image",), weight, torch.zeros(4).double()),
        g.Neuron("fire", ("first",), 1.0, 2),
        g.AvgPool("mean", ("fire",), (2, 2), (2, 2)),
        g.Conv("head", ("mean",), torch.ones(5, 4, 1, 1).double(), torch.zeros(5).double()),
        g.Readout("boxes0", ("head",)),
    ]
    graph = g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, 2)
    images = torch.zeros(1, 3, 2, 2).double()
    images[..., 0, 0] = 1  # one of four pixels: four neurons fire at once, a mean of 1/4 in each of four channels
    assert next(simulate(graph, images, 1)).sops.tolist() == [4 * 0.25 * 5]


def test_pixels_are_no_spikes_even_behind_a_pad():
    nodes = [g.Input("image", ()), g.ZeroPad("pad", ("image",), (1, 1, 1, 1))]
    nodes += [g.Conv("conv", ("pad",), torch.ones(2, 3, 3, 3), torch.zeros(2)), g.Neuron("n", ("conv",), 1.0, 4)]
    graph = g.SpikingGraph([*nodes, g.Readout("boxes0", ("n",))], ["thing"], [1], 1, 64, {}, 4)
    assert float(next(simulate(graph, torch.ones(1, 3, 4, 4), 1)).sops) == 0
