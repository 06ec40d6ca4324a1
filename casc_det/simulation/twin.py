"""The ANN twin of a spiking graph: the same weights and thresholds with the activation in place of the neurons.

Every quantity is what the spiking network adds up over time, so at quiescence the two are equal neuron by neuron:
`n = clip(floor((x + theta/2) / theta), 0, Q)` with `x = U n_in + Q*bias` (CASC, arXiv 2406.05371), where neurons follow
another function the count of their table. On an integer graph everything but the final scale is integers, and the
equality holds bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from casc_det import graph as g


@dataclass(frozen=True)
class AnnOutput:
    """readout: output maps by name, (B, C, H, W). counts: the counts of each `Neuron` node by name."""

    readout: dict[str, torch.Tensor]
    counts: dict[str, torch.Tensor]


def ann_forward(graph: g.SpikingGraph, images: torch.Tensor, keep_counts: bool = True) -> AnnOutput:
    """Evaluate the ANN twin on images (B, 3, H, W) in 0..1, in the dtype of the graph's weights."""
    levels, counts = graph.levels, {}

    def count(node: g.Neuron, x: torch.Tensor) -> torch.Tensor:
        table = node.table
        value = table.wanted(x) if table else quantise(x + graph.start(node), node.theta, levels)
        if keep_counts:
            counts[node.name] = value
        return value

    rules: dict[type[g.Node], Callable] = {
        g.Input: lambda node: graph.pixels(images) * levels,
        g.Conv: lambda node, x: node.compute(x, integer=graph.integer) + graph.summed_bias(node, levels),
        g.Neuron: count,
        g.Readout: lambda node, x: graph.output(node, x, levels),
    }
    values = g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs))
    return AnnOutput({node.name: values[node.name] for node in graph.of_type(g.Readout)}, counts)


def quantise(x: torch.Tensor, theta: float | torch.Tensor, levels: int) -> torch.Tensor:
    """clip(floor(x / theta), 0, Q), without rounding errors of the division where x and theta are integers."""
    return torch.div(x, theta, rounding_mode="floor").clamp(0, levels)
