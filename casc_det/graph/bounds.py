"""How large the potentials and sums of an integer graph can get: below 2^24 float32 adds integers without error.

A bound is proved from the weights alone, so it holds for every image, time step and order of addition.
"""

from dataclasses import dataclass

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError

LARGEST = 127
EXACT_BELOW = 2**24


@dataclass(frozen=True)
class Range:
    """bounds: the largest magnitude that can be reached, by node: potentials or sums that a convolution drives, and the
    running sums of other nodes."""

    bounds: dict[str, int]

    @property
    def largest(self) -> int:
        return max(self.bounds.values())


def proved_range(graph: g.SpikingGraph) -> Range:
    """Bounds of every potential and every sum of an integer graph, at any time step and in any order of addition.

    This is for CIF neurons with WSC, which every answer of a detector comes from; see `unlimited_range` for others.

    Raises:
        ConversionError: a bound is not below 2^24, or a weight is no whole number from -127 to 127.
    """
    for node in graph.of_type(g.Conv):
        if not torch.equal(node.weight, node.weight.round().clamp(-LARGEST, LARGEST)):
            raise ConversionError(f"graph: '{node.name}' has weights that are no whole numbers of 8 bits")
    result = _range(graph, graph.levels, graph.levels, graph.levels + 1)
    worst = max(result.bounds, key=result.bounds.get)
    if result.largest >= EXACT_BELOW:
        raise ConversionError(f"graph: values of '{worst}' may reach {result.largest}, which is not below 2^24")
    return result


def unlimited_range(graph: g.SpikingGraph, steps: int, wakes: int) -> Range:
    """`proved_range` after `steps` steps, `wakes` of them with input, of neurons whose counts have no upper limit.

    A count grows by at most one a step. A potential is below its threshold or falls only by what comes in since it was
    above 0, which is less than what can have come in at all.
    """
    return _range(graph, steps, wakes, 2)


def _range(graph: g.SpikingGraph, counts: int, wakes: int, thetas: int) -> Range:
    """The bounds for neurons with counts up to `counts` after `wakes` steps with input.

    A count lies in 0..counts at all times, a pixel's running sum in 0..255 wakes, a bias's between 0 and its share. So
    the running input of a neuron lies between its negative and its positive weights times these, and its potential
    differs from that by at most `thetas` thresholds.
    """
    tops = largest_counts(graph, counts, wakes)
    bounds = {name: int(top.max()) for name, top in tops.items()}
    theta = {node.inputs[0]: node.theta.flatten().double() for node in graph.of_type(g.Neuron)}
    for node in graph.of_type(g.Conv):
        bias = (node.bias.double() * (wakes / graph.levels)).abs().ceil().copysign(node.bias)
        most = reach(node.weight.double(), bias, g.per_weight(node, tops), counts)
        bounds[node.name] = int((most + theta.get(node.name, 0.0) * thetas).max())
    return Range(bounds)


def reach(weight, bias, top, levels: int) -> torch.Tensor:
    """The largest magnitude (O,) of a running input; `top`: largest sum behind each weight; levels: largest count."""
    reached = weight * top
    up, down = reached.clamp(min=0).flatten(1).sum(1), (-reached).clamp(min=0).flatten(1).sum(1)
    total = torch.maximum(up + bias.clamp(min=0), down + (-bias).clamp(min=0))
    return total * (2 if levels == 1 else 1)  # at Q = 1 one step may swing over both sides


def units_of(graph: g.SpikingGraph) -> dict[str, torch.Tensor]:
    """What 1 of an integer signal is in the real-valued graph, per channel."""
    return _propagate(graph, 1 / g.PIXEL_LEVELS, 1.0, lambda parts: parts[0], lambda x, node: x / _area(node))


def largest_counts(graph: g.SpikingGraph, counts: int | None = None, wakes: int | None = None) -> dict:
    """The largest running sum of each integer signal, per channel, for counts up to `counts` (default: Q) after `wakes`
    steps with input (default: Q)."""
    pixel, neuron = (float(graph.levels if x is None else x) for x in (wakes, counts))
    add = lambda parts: sum(parts).clamp(max=2.0**62)  # far above every bound, and no infinity
    return _propagate(graph, pixel * g.PIXEL_LEVELS, neuron, add, lambda x, node: x * _area(node))


def _area(node: g.AvgPool) -> int:
    return node.kernel[0] * node.kernel[1]


def _propagate(graph, pixel: float, neuron: float, add, average) -> dict[str, torch.Tensor]:
    rules = {
        g.Input: lambda node, parts: torch.full((node.channels,), pixel, dtype=torch.float64),
        g.Conv: lambda node, parts: torch.ones(len(node.weight), dtype=torch.float64),
        g.Neuron: lambda node, parts: torch.full_like(parts[0], neuron),
        g.Add: lambda node, parts: add(parts),
        g.AvgPool: lambda node, parts: average(parts[0], node),
    }
    return g.per_channel(graph, rules)
