"""What a spiking graph holds and what one image costs: neurons, multiply-accumulates, parameters."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from casc_det import graph as g
from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError
from casc_det.graph.bounds import proved_range
from casc_det.graph.fields import LARGEST_SIDE
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

    def snn_macs(self, steps: int, wake: int) -> int:
        """MACs of `steps` steps of the spiking network, `wake` of which have input."""
        return min(steps, wake) * sum(self.macs[name] for name in self.pixels)


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


def describe(graph: g.SpikingGraph, imgsz: int | None = None) -> dict:
    """Facts about a spiking graph as JSON values; neurons and MACs are those of one square image."""
    stride = max(graph.strides)
    size = -(-graph.imgsz // stride) * stride if imgsz is None else imgsz
    if not is_integer(size, stride, LARGEST_SIDE) or size % stride:
        raise ArgumentError(
            f"imgsz: expected a multiple of {stride} from {stride} to {LARGEST_SIDE}, got {shown(size)}"
        )
    operations = count_operations(graph, size, size)
    arithmetic = (
        f"8-bit weights, whole numbers up to {max(proved_range(graph).values())} (below 2^24)"
        if graph.integer
        else "real-valued"
    )
    return {
        "levels": graph.levels,
        "arithmetic": arithmetic,
        "classes": len(graph.names),
        "imgsz": graph.imgsz,
        "parameters": sum(v.numel() for node in graph.nodes for v in g.tensors(node).values()),
        "neuron layers": len(graph.of_type(g.Neuron)),
        f"neurons at {size}": operations.neurons,
        f"ANN MACs at {size}": operations.ann_macs,
        "nodes": {kind: len(graph.of_type(t)) for kind, t in g.NODE_TYPES.items() if graph.of_type(t)},
        "names": ", ".join(graph.names),
        **graph.meta,
    }
