"""What the convolutions of a spiking graph read: are spikes spikes?

A convolution of spikes adds weights, each times an integer that is 0 almost always and at most a burst, or the sum of
the bursts that an addition brings together. One that reads pixels, or values between them (an average, a function of a
sum), multiplies. Which is which follows from the graph and the burst alone; a run tells the largest spikes it has seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from casc_det import graph as g
from casc_det.simulation.cost import count_operations, usual_side
from casc_det.simulation.settings import SimulationSettings

Signal = tuple[str, torch.Tensor]  # what it is, and its largest magnitude per channel (C,)
WORDS = {"pixels": "pixels", "graded": "graded signals"}


class Read(NamedTuple):
    """What a convolution reads.

    Attributes:
        kind: "spikes", "pixels", or "graded": other values that are no spikes.
        largest: the largest magnitude that a spike of one step can have; None for what is no spike.
    """

    kind: str
    largest: int | None


def reads(graph: g.SpikingGraph, burst: int) -> dict[str, Read]:
    """What each convolution reads in a step, by name; burst: the most unit spikes that a neuron sends in a step."""
    found: dict[str, Read] = {}

    def convolve(node: g.Conv, signal: Signal) -> Signal:
        kind, largest = signal
        found[node.name] = Read(kind, int(largest.max()) if kind == "spikes" else None)
        return "current", torch.zeros(len(node.weight), dtype=torch.float64)

    def other(node: g.Node, *signals: Signal) -> Signal:
        kinds = {kind for kind, _ in signals}
        (kind,) = kinds if len(kinds) == 1 else ("graded",)
        return "graded" if kind == "spikes" and node.graded else kind, node.bound([largest for _, largest in signals])

    rules: g.Rules[Signal] = {
        g.Input: lambda node: ("pixels", torch.ones(node.channels, dtype=torch.float64)),
        g.Conv: convolve,
        g.Neuron: lambda node, signal: ("spikes", torch.full_like(signal[1], burst)),
    }
    g.walk(graph, rules, other)
    return found


def spike_audit(
    graph: g.SpikingGraph, settings: SimulationSettings, peaks: Sequence[Mapping[str, float]] = ()
) -> dict[str, Any]:
    """What the convolutions read, as JSON values.

    Args:
        peaks: the largest magnitudes that convolutions read in the runs of some images, by name (`SpikingInfo.peaks`).

    Returns:
        `{"convolutions": {name: {"reads", "largest", "seen", "macs"}}, "graded_macs", "summary"}`: `macs` of an image
        of the side that the graph is for, `graded_macs` the share of them that reads what is no spike, `summary` in a
        line.
    """
    side, found = usual_side(graph), reads(graph, settings.plan(graph).burst)
    seen = {name: max(peak[name] for peak in peaks) for name in (peaks[0] if peaks else ())}
    macs = count_operations(graph, side, side).macs
    rows = {
        name: {"reads": read.kind, "largest": read.largest, "seen": seen.get(name), "macs": macs[name]}
        for name, read in found.items()
    }
    share = sum(macs[name] for name, read in found.items() if read.kind != "spikes") / sum(macs.values())
    return {"convolutions": rows, "graded_macs": share, "summary": _summary(found, share, seen)}


def _summary(found: dict[str, Read], share: float, seen: Mapping[str, float]) -> str:
    """One line on all convolutions."""
    sizes = {name: read.largest for name, read in found.items() if read.largest is not None}
    graded = len(found) - len(sizes)
    others = ", ".join(words for kind, words in WORDS.items() if any(read.kind == kind for read in found.values()))
    met = [seen[name] for name in sizes if name in seen]
    sizes_seen = f"|s| <= {max(sizes.values(), default=0)}{f'; seen {max(met):g}' if met else ''}"
    return (
        f"every convolution but {graded} reads spikes ({sizes_seen}); "
        f"{100 * share:.1f} % of the MACs read graded values ({others})"
    )
