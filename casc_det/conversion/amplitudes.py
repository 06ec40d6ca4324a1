"""Amplitudes: what 1 of each signal of a network stands for, so that real value = amplitude * (sum over time).

A neuron with clip `lam` sends spikes of amplitude lam/Q; the image, injected Q times, has 1/Q, and so has a convolution
that drives no neuron (readout), whose sum divided by Q is the real value. All other ops say it themselves
(`casc_det.graph.node.Node.amplitude`).
"""

from functools import partial

import torch

from casc_det import graph as g


def amplitudes_of(graph: g.Graph) -> dict[str, torch.Tensor]:
    """Amplitude per channel of every map, (C,) float64, by node; none behind an op that cannot be converted."""
    sites: list[g.Activation | g.Neuron] = [*graph.of_type(g.Activation), *graph.of_type(g.Neuron)]
    levels = max((node.levels for node in sites), default=1)
    clips = {node.inputs[0]: node.lam / levels for node in sites}  # what drives a neuron -> amplitude
    filled = partial(torch.full, dtype=torch.float64)

    def of_site(node: g.Activation | g.Neuron, part: torch.Tensor | None) -> torch.Tensor | None:
        return None if part is None else torch.full_like(part, node.lam / levels)

    def otherwise(node: g.Node, *parts: torch.Tensor | None) -> torch.Tensor | None:
        known = [part for part in parts if part is not None]
        return node.amplitude(known) if len(known) == len(parts) and not g.lacking(type(node)) else None

    rules: g.Rules[torch.Tensor | None] = {
        g.Input: lambda node: filled((node.channels,), 1 / levels),
        g.Conv: lambda node, part: filled((len(node.weight),), clips.get(node.name, 1 / levels)),
        g.Activation: of_site,
        g.Neuron: of_site,
        g.Unsupported: lambda node, *parts: None,
    }
    values = g.walk(graph, rules, otherwise, keep=True)
    return {name: value for name, value in values.items() if value is not None}
