"""Where neurons and convolutions stand in a graph, and how long answers take from there."""

import torch

from casc_det import graph as g
from casc_det.simulation.settings import PLAIN, SimulationSettings


def depths(graph: g.SpikingGraph) -> dict[str, int]:
    """For each node the largest number of neuron layers on a path from the image to it, itself included."""
    return g.walk(graph, {g.Neuron: lambda node, x: x + 1}, lambda node, *parts: max(parts, default=0), keep=True)


def spiking_convolutions(graph: g.SpikingGraph) -> list[g.Conv]:
    """The convolutions that read spikes, not pixels."""
    reached = depths(graph)
    return [node for node in graph.of_type(g.Conv) if reached[node.inputs[0]]]


def auto_limit(graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> int:
    """An upper bound of the step at which WSC with CIF neurons is quiescent: Q*(depth + 1) + 1.

    depth: the largest number of neuron layers on a path from the image to an output. With a delay the steps that the
    last layer waits are added.

    After wake the input of the first layer is complete. Once the input of a neuron is complete, each step brings its
    count one nearer to the final one, and the two are at most Q apart: Q steps a layer, and one step to see silence.
    """
    layers = max(depths(graph).values())
    return graph.levels * (layers + 1) + 1 + settings.plan(graph.levels).waiting(layers - 1)


def first_answer(graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> int:
    """The first step of WSC at which all input was seen and every layer may send: from here on a policy may stop."""
    return max(graph.levels, settings.plan(graph.levels).waiting(max(depths(graph).values()) - 1) + 1)


def synapses(node: g.Conv, height: int, width: int) -> torch.Tensor:
    """Synapses that leave each position of one input channel, (H, W) float64: exact at the borders."""
    ones = torch.ones(1, 1, *node.weight.shape[2:], dtype=torch.float64)
    geometry = (node.stride, node.padding, node.dilation)
    x = torch.zeros(1, 1, height, width, dtype=ones.dtype, requires_grad=True)
    with torch.enable_grad():
        y = torch.nn.functional.conv2d(x, ones, None, *geometry)
        (reached,) = torch.autograd.grad(y.sum(), x)
    return (reached[0, 0] * (node.weight.shape[0] // node.groups)).to(node.weight.device)
