"""How large the potentials and sums of a graph can get: below 2^24 float32 adds integers without error.

A bound is proved from the weights alone, so it holds for every image, time step and order of addition.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError

LARGEST = 127
EXACT_BELOW = 2**24


class Span(NamedTuple):
    """How far running sums can rise above 0, and fall below it, per channel (C,) float64; both at least 0."""

    top: torch.Tensor
    bottom: torch.Tensor

    @property
    def largest(self) -> torch.Tensor:
        """The largest magnitude."""
        return torch.maximum(self.top, self.bottom)


class Counts(NamedTuple):
    """What bounds hold for. most: the largest count, None: that of the layer. injected: levels of input.

    thetas: so many thresholds the rest of a potential, where spikes are subtracted, may differ from the running input.
    burst: the most unit spikes of a neuron, and levels of input, in one step.
    """

    most: int | None
    injected: int
    thetas: int
    burst: int = 1


def proved_range(graph: g.SpikingGraph, burst: int = 1) -> dict[str, int]:
    """Bounds of every potential and every sum of an integer graph, at any time step and in any order of addition.

    By node: the largest magnitude of the potentials or sums that a convolution drives, and of the running sums of other
    nodes. This is for CIF neurons with WSC, which every answer of a detector comes from; see `unlimited_range` for
    others.

    Args:
        burst: the largest one, see `Schedule`: what one step brings may exceed what all steps add up to.

    Raises:
        ConversionError: a bound is not below 2^24, or a weight is no integer from -127 to 127.
    """
    for node in graph.of_type(g.Conv):
        if not torch.equal(node.weight, node.weight.round().clamp(-LARGEST, LARGEST)):
            raise ConversionError(f"graph: '{node.name}' has weights that are no integers of 8 bits")
    bounds = _range(graph, Counts(None, graph.levels, graph.levels + 1, burst))
    worst = max(bounds, key=bounds.__getitem__)
    if bounds[worst] >= EXACT_BELOW:
        raise ConversionError(f"graph: values of '{worst}' may reach {bounds[worst]}, which is not below 2^24")
    return bounds


def unlimited_range(graph: g.SpikingGraph, counts: int, injected: int, burst: int = 1) -> dict[str, int]:
    """`proved_range` of neurons with equal steps whose counts have no upper limit, as long as they are up to `counts`
    and so many levels of input came.

    A potential is below its threshold or falls only by what comes in since it was above 0, which is less than what can
    have come in at all.
    """
    return _range(graph, Counts(counts, injected, 1 + burst, burst))


def _range(graph: g.SpikingGraph, counts: Counts) -> dict[str, int]:
    """The bounds for some counts.

    A count lies between its least and its largest one at all times, a pixel's running sum in 0..255 injected, a bias's
    between 0 and its share. So the running input of a neuron lies between its negative and its positive weights times
    these, and what is left of its potential differs from that by at most `thetas` thresholds. What one step brings is
    at most a burst of each neuron, sent or taken back, and never more than lies between the two ends.
    """
    graph = g.moved(graph, torch.float64)  # on the CPU, where the walk begins
    rest = {node.inputs[0]: torch.as_tensor(node.theta).flatten() for node in graph.of_type(g.Neuron) if not node.table}
    found: dict[str, int] = {}
    steps = step_of(graph, counts)

    def driven(node: g.Conv, part: Span) -> Span:
        bias = (node.bias * (counts.injected / graph.levels)).abs().ceil().copysign(node.bias)
        span = reach(node.weight, bias, Span(*map(node.per_weight, part)))
        came = (node.weight.abs() * node.per_weight(steps[node.inputs[0]])).flatten(1).sum(1) + bias.abs()
        most = span.largest + rest.get(node.name, torch.zeros(())) * counts.thetas
        found[node.name] = int(torch.maximum(most, came.minimum(span.top + span.bottom)).max())
        return span

    spans = spans_of(graph, counts, driven)
    return {name: int(span.largest.max()) for name, span in spans.items()} | found


def reach(weight: torch.Tensor, bias: torch.Tensor, part: Span) -> Span:
    """How far a running input (O,) may go; `part`: the span of the sums behind each weight."""
    up = weight.clamp(min=0) * part.top + (-weight).clamp(min=0) * part.bottom
    down = weight.clamp(min=0) * part.bottom + (-weight).clamp(min=0) * part.top
    return Span(up.flatten(1).sum(1) + bias.clamp(min=0), down.flatten(1).sum(1) + (-bias).clamp(min=0))


def spans_of(graph: g.SpikingGraph, counts: Counts, driven: Callable[[g.Conv, Span], Span]) -> dict[str, Span]:
    """The span of the running sum of each integer signal; `driven`: that of a convolution, of that of its input."""

    def inject(node: g.Input) -> Span:
        none = torch.zeros(node.channels, dtype=torch.float64)
        return Span(none + counts.injected * g.PIXEL_LEVELS, none)

    def count(node: g.Neuron, part: Span) -> Span:
        least, most = node.span if counts.most is None else (0, counts.most)
        return Span(torch.full_like(part.top, float(most)), torch.full_like(part.top, float(-least)))

    def other(node: g.Node, *parts: Span) -> Span:
        return Span(node.bound([part.top for part in parts]), node.bound([part.bottom for part in parts]))

    rules: g.Rules[Span] = {g.Input: inject, g.Conv: driven, g.Neuron: count}
    return g.walk(graph, rules, other, keep=True)


def step_of(graph: g.SpikingGraph, counts: Counts) -> dict[str, torch.Tensor]:
    """The largest magnitude of what each signal brings in one step, per channel (C,) float64."""
    filled = lambda size, value: torch.full((size,), float(value), dtype=torch.float64)

    def fire(node: g.Neuron, part: torch.Tensor) -> torch.Tensor:
        least, most = node.span
        return torch.full_like(part, float(min(counts.burst, most - least)))

    rules: g.Rules[torch.Tensor] = {
        g.Input: lambda node: filled(node.channels, counts.burst * g.PIXEL_LEVELS),
        g.Conv: lambda node, part: filled(len(node.weight), 0),  # what follows is a neuron or a readout
        g.Neuron: fire,
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
