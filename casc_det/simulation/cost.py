"""What one image costs: neurons and multiply-accumulates."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from casc_det import graph as g
from casc_det.simulation import depths


@dataclass(frozen=True)
class Operations:
    """Of one image of a given size: MACs by convolution, the names of those that read pixels, neurons by layer."""

    macs: dict[str, int]
    pixels: frozenset[str]
    layers: dict[str, int]

    @property
    def neurons(self) -> int:
        """Of all layers."""
        return sum(self.layers.values())

    @property
    def ann_macs(self) -> int:
        """Multiply-accumulates of one ANN pass."""
        return sum(self.macs.values())

    def snn_macs(self, steps: int, wake: int | None) -> int:
        """MACs of `steps` steps of the spiking network, the first `wake` of which have input; None: all."""
        return (steps if wake is None else min(steps, wake)) * sum(self.macs[name] for name in self.pixels)


def count_operations(graph: g.SpikingGraph, height: int, width: int) -> Operations:
    """Operations for a network input of (height, width); nothing is computed, only shapes."""
    macs: dict[str, int] = {}
    layers: dict[str, int] = {}

    def convolve(node: g.Conv, x: torch.Tensor) -> torch.Tensor:
        value = g.on_meta(node).compute(x.to(node.weight.dtype))
        macs[node.name] = value.numel() * node.weight[0].numel()
        return value

    def count(node: g.Neuron, x: torch.Tensor) -> torch.Tensor:
        layers[node.name] = x.numel()
        return x

    rules: dict[type[g.Node], Callable] = {
        g.Input: lambda node: torch.empty(1, node.channels, height, width, device="meta"),
        g.Conv: convolve,
        g.Neuron: count,
        g.Readout: lambda node, x: x,
    }
    g.walk(graph, rules, lambda node, *inputs: g.on_meta(node).compute(*inputs))
    reached = depths(graph)
    pixels = frozenset(node.name for node in graph.of_type(g.Conv) if not reached[node.inputs[0]])
    return Operations(macs, pixels, layers)


def usual_side(graph: g.SpikingGraph) -> int:
    """The side of a square image that a network is for: its `imgsz`, in whole strides."""
    stride = max(graph.strides)
    return -(-graph.imgsz // stride) * stride
