"""The network as data: a list of nodes in topological order, each naming the nodes it reads.

`Graph` is what capture makes of a YOLO (real-valued weights, quantised activations); `SpikingGraph` is what conversion
makes of a `Graph` (weights in units of the threshold, neurons). Both hold the node types below and know nothing of
Ultralytics. Feature maps are (B, C, H, W).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from casc_det.base.arguments import shown
from casc_det.errors import ConversionError
from casc_det.graph import fields as r
from casc_det.graph.node import AnyNode, Node, Place, tensors, with_tensors
from casc_det.graph.ops import Conv, Input, Neuron, Readout
from casc_det.graph.ops.readout import KINDS

PIXEL_LEVELS = 255
MOST_NODES = 4096
AnyGraph = TypeVar("AnyGraph", bound="Graph")


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """A detector as captured. It is equal to itself alone: an edited one (`dataclasses.replace`) is another graph.

    Attributes:
        nodes: topological order, `Input` first; any sequence, kept as a tuple.
        names: class names, index = label.
        strides: pixels per cell of each detection level.
        reg_max: bins of the box distribution (DFL); 1 means plain distances.
        imgsz: longest side in pixels the network was trained for.
        meta: provenance, JSON values.

    `names` and `strides` stay the lists that the file's JSON has; do not write to them.
    """

    nodes: Sequence[Node]
    names: r.Names
    strides: r.Strides
    reg_max: r.Bins
    imgsz: r.Side
    meta: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise ConversionError("graph: expected an Input as its first node")
        if len(self.nodes) > MOST_NODES:
            raise ConversionError(f"graph: it has {len(self.nodes)} nodes, expected at most {MOST_NODES}")
        r.check_fields("it has", self)
        seen: set[str] = set()
        for node in self.nodes:
            node.check()
            for name in node.inputs:
                if name not in seen:
                    node.refuse(f"reads {shown(name)}, which is no earlier node; nodes must be in topological order")
            if node.name in seen:
                raise ConversionError(f"graph: two nodes are named '{node.name}'; names must be unique")
            seen.add(node.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary()})"

    def _summary(self) -> str:
        """What `repr` shows: its size and what it detects."""
        values = [value for node in self.nodes for value in tensors(node).values()]
        kinds = " and ".join(sorted({str(value.dtype)[6:] for value in values})) or "none"
        sizes = f"{len(self.nodes)} nodes, {sum(value.numel() for value in values)} parameters ({kinds})"
        return f"{sizes}, {len(self.names)} classes, strides {self.strides}, imgsz {self.imgsz}"

    def of_type(self, kind: type[AnyNode]) -> list[AnyNode]:
        """The nodes of a kind, in order."""
        return [node for node in self.nodes if isinstance(node, kind)]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.of_type(Conv)[0].weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.of_type(Conv)[0].weight.device

    @property
    def task(self) -> str:
        """What the network is for, which is what it is read out in: "detect"."""
        return KINDS[self.of_type(Readout)[0].kind].task

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each node, by name."""
        result: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                result[name].append(node)
        return result

    def places(self) -> Iterator[tuple[Node, Place]]:
        """Each node with where it stands."""
        nodes, readers = {node.name: node for node in self.nodes}, self.consumers()
        for node in self.nodes:
            sources = tuple(nodes[name] for name in node.inputs)
            siblings = tuple(readers[sources[0].name]) if sources else ()
            yield node, Place(sources, tuple(readers[node.name]), siblings)


@dataclass(frozen=True, eq=False, repr=False)
class SpikingGraph(Graph):
    """A spiking detector: `Neuron` in place of `Activation`, no `BatchNorm`, one `levels` (Q) for all.

    Real-valued: weights are in units of the threshold they drive (theta = 1), the image is injected as it is (0..1)
    at each level (with bursts several a wake step), and so is each convolution's bias.
    Integer (`integer`; see `conversion.integer`): pixels 0..255, weights, thresholds, biases, potentials and summed
    readouts are integers below 2^24, which float32 and float64 hold and add without error, in any order. The
    methods below are all that differs between the two.

    `defaults`: how it is best simulated, fields of `casc_det.simulation.SimulationSettings` and their values: "burst",
    "ramp", "hysteresis", "delay".
    """

    levels: r.Levels = 8
    integer: r.Flag = False
    defaults: r.Defaults = field(default_factory=dict)

    @property
    def functions(self) -> list[str]:
        """Those that its neurons follow, each once."""
        return list(dict.fromkeys(node.function for node in self.of_type(Neuron)))

    def _summary(self) -> str:
        kind, layers = "integer" if self.integer else "real-valued", len(self.of_type(Neuron))
        return f"{kind}, {self.levels} levels, {layers} layers of neurons, {super()._summary()}"

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """What a wake step injects for images (B, 3, H, W) in 0..1."""
        return torch.round(images * PIXEL_LEVELS) if self.integer else images

    def start(self, node: Neuron) -> float | torch.Tensor:
        """The potential before the first step: half the threshold, the 1/2 of CQReLU; 0 where a table has it."""
        if node.thresholds is not None:
            return 0.0
        return node.theta // 2 if self.integer else node.theta / 2

    def wake_bias(self, node: Conv, before: int, after: int) -> torch.Tensor:
        """What a wake step adds that brings the injected levels from `before` to `after`, (C, 1, 1): so many times the
        bias; integers: its share of the total of Q levels."""
        if self.integer:
            return self.summed_bias(node, after) - self.summed_bias(node, before)
        return (after - before) * node.bias.view(-1, 1, 1)

    def summed_bias(self, node: Conv, injected: int) -> torch.Tensor:
        """What the wake steps that injected so many levels add together, (C, 1, 1)."""
        if self.integer:
            return (node.bias.long() * injected // self.levels).to(node.bias.dtype).view(-1, 1, 1)
        return injected * node.bias.view(-1, 1, 1)

    def output(self, node: Readout, total: torch.Tensor, divisor: int) -> torch.Tensor:
        """The real values of a readout whose currents sum to `total`; float64 for an integer graph."""
        if node.scale is None:
            return total / divisor
        return (total * node.scale.double()).div_(divisor)


def moved(graph: AnyGraph, dtype: torch.dtype, device: str | torch.device = "cpu") -> AnyGraph:
    """The same graph with its tensors in another dtype and on another device."""
    move = lambda node: with_tensors(node, {key: value.to(device, dtype) for key, value in tensors(node).items()})
    return replace(graph, nodes=[move(node) for node in graph.nodes])
