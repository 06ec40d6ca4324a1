"""How large the potentials and sums of a graph can get: below 2^24 float32 adds integers without error.

A bound is proved from the weights alone, so it holds for every image, time step and order of addition.
"""

from collections.abc import Callable

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError

LARGEST = 127
EXACT_BELOW = 2**24


def proved_range(graph: g.SpikingGraph) -> dict[str, int]:
    """Bounds of every potential and every sum of an integer graph, at any time step and in any order of addition.

    By node: the largest magnitude of the potentials or sums that a convolution drives, and of the running sums of other
    nodes. This is for CIF neurons with WSC, which every answer of a detector comes from; see `unlimited_range` for
    others.

    Raises:
        ConversionError: a bound is not below 2^24, or a weight is no integer from -127 to 127.
    """
    for node in graph.of_type(g.Conv):
        if not torch.equal(node.weight, node.weight.round().clamp(-LARGEST, LARGEST)):
            raise ConversionError(f"graph: '{node.name}' has weights that are no whole numbers of 8 bits")
    bounds = _range(graph, graph.levels, graph.levels, graph.levels + 1)
    worst = max(bounds, key=bounds.__getitem__)
    if bounds[worst] >= EXACT_BELOW:
        raise ConversionError(f"graph: values of '{worst}' may reach {bounds[worst]}, which is not below 2^24")
    return bounds


def unlimited_range(graph: g.SpikingGraph, steps: int, wakes: int) -> dict[str, int]:
    """`proved_range` after `steps` steps, `wakes` of them with input, of neurons whose counts have no upper limit.

    A count grows by at most one a step. A potential is below its threshold or falls only by what comes in since it was
    above 0, which is less than what can have come in at all.
    """
    return _range(graph, steps, wakes, 2)


def _range(graph: g.SpikingGraph, counts: int, wakes: int, thetas: int) -> dict[str, int]:
    """The bounds for neurons with counts up to `counts` after `wakes` steps with input.

    A count lies in 0..counts at all times, a pixel's running sum in 0..255 wakes, a bias's between 0 and its share. So
    the running input of a neuron lies between its negative and its positive weights times these, and its potential
    differs from that by at most `thetas` thresholds.
    """
    graph = g.moved(graph, torch.float64)  # on the CPU, where the walk begins
    theta = {node.inputs[0]: torch.as_tensor(node.theta).flatten() for node in graph.of_type(g.Neuron)}

    def driven(node: g.Conv, part: torch.Tensor) -> torch.Tensor:
        bias = (node.bias * (wakes / graph.levels)).abs().ceil().copysign(node.bias)
        most = reach(node.weight, bias, node.per_weight(part), counts)
        return most + theta.get(node.name, torch.zeros(())) * thetas

    tops = largest_counts(graph, counts, wakes, driven)
    return {name: int(top.max()) for name, top in tops.items()}


def reach(weight: torch.Tensor, bias: torch.Tensor, top: torch.Tensor, levels: int) -> torch.Tensor:
    """The largest magnitude (O,) of a running input; `top`: largest sum behind each weight; levels: largest count."""
    reached = weight * top
    up, down = reached.clamp(min=0).flatten(1).sum(1), (-reached).clamp(min=0).flatten(1).sum(1)
    total = torch.maximum(up + bias.clamp(min=0), down + (-bias).clamp(min=0))
    return total * (2 if levels == 1 else 1)  # at Q = 1 one step may swing over both sides


def largest_counts(
    graph: g.SpikingGraph, counts: int, wakes: int, driven: Callable[[g.Conv, torch.Tensor], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The largest running sum of each integer signal, per channel (C,), for counts up to `counts` after `wakes` steps
    with input; `driven`: that of a convolution, of that of its input."""
    filled = lambda like, value: torch.full((like,), float(value), dtype=torch.float64)
    rules: g.Rules[torch.Tensor] = {
        g.Input: lambda node: filled(node.channels, wakes * g.PIXEL_LEVELS),
        g.Conv: driven,
        g.Neuron: lambda node, part: torch.full_like(part, float(counts)),
    }
    return g.walk(graph, rules, lambda node, *parts: node.bound(parts), keep=True)


def units_of(graph: g.SpikingGraph) -> dict[str, torch.Tensor]:
    """What 1 of an integer signal is in the real-valued graph, per channel (C,)."""
    rules: g.Rules[torch.Tensor] = {
        g.Input: lambda node: torch.full((node.channels,), 1 / g.PIXEL_LEVELS, dtype=torch.float64),
        g.Conv: lambda node, part: torch.ones(len(node.weight), dtype=torch.float64),
        g.Neuron: lambda node, part: torch.ones_like(part),
    }
    return g.walk(graph, rules, lambda node, *parts: node.unit(parts), keep=True)


def real_range(graph: g.SpikingGraph) -> dict[str, float]:
    """The largest magnitude that the running sum of each signal of a real-valued graph can reach, by node.

    Raises:
        ConversionError: it is 2^24 thresholds or more, where rounding may cost whole spikes.
    """
    levels = float(graph.levels)
    thetas = {node.inputs[0]: node.theta for node in graph.of_type(g.Neuron)}

    def driven(node: g.Conv, part: torch.Tensor) -> torch.Tensor:
        total = (node.weight.double().abs() * node.per_weight(part)).flatten(1).sum(1)
        total += levels * node.bias.double().abs()
        theta = torch.as_tensor(thetas.get(node.name, 1.0), dtype=torch.float64).flatten()
        if not bool((total < EXACT_BELOW * theta).all()):
            node.refuse("has sums that may reach 2^24 thresholds, where rounding costs spikes")
        return total

    rules: g.Rules[torch.Tensor] = {
        g.Input: lambda node: torch.full((node.channels,), levels, dtype=torch.float64),
        g.Conv: driven,
        g.Neuron: lambda node, part: torch.full_like(part, levels),
    }
    tops = g.walk(graph, rules, lambda node, *parts: node.bound(parts), keep=True)
    return {name: float(top.max()) for name, top in tops.items()}
