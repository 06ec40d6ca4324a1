"""The ANN twin of a spiking graph: the same weights and thresholds with CQReLU in place of the neurons.

Every quantity is what the spiking network adds up over time, so at quiescence the two are equal neuron by neuron:
`n = clip(floor((x + theta/2) / theta), 0, Q)` with `x = U n_in + Q*bias` (CASC, arXiv 2406.05371). On an integer
graph everything but the final scale is whole numbers, and the equality holds bit for bit.
"""

from dataclasses import dataclass

import torch

from casc_det import graph as g
from casc_det.graph.ops import apply, convolve


@dataclass
class AnnOutput:
    """readout: output maps by name, (B, C, H, W). counts: the counts of each `Neuron` node by name."""

    readout: dict[str, torch.Tensor]
    counts: dict[str, torch.Tensor]


def ann_forward(graph: g.SpikingGraph, images: torch.Tensor, keep_counts: bool = True) -> AnnOutput:
    """Evaluate the ANN twin on pictures (B, 3, H, W) in 0..1, in the dtype of the graph's weights."""
    levels = graph.levels
    values: dict[str, torch.Tensor] = {}
    readout, counts = {}, {}
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        match node:
            case g.Input():
                value = graph.pixels(images) * levels
            case g.Conv():
                value = convolve(node, inputs[0], graph.integer) + graph.summed_bias(node, levels)
            case g.Neuron():
                value = quantise(inputs[0] + graph.start(node), node.theta, levels)
                if keep_counts:
                    counts[node.name] = value
            case g.Readout():
                value = readout[node.name] = graph.output(node, inputs[0], levels)
            case _:
                value = apply(node, *inputs)
        values[node.name] = value
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                del values[name]
    return AnnOutput(readout, counts)


def quantise(x: torch.Tensor, theta, levels: int) -> torch.Tensor:
    """clip(floor(x / theta), 0, Q), without rounding errors of the division where x and theta are whole numbers."""
    return torch.div(x, theta, rounding_mode="floor").clamp(0, levels)
