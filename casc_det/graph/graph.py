"""The network as data: a list of nodes in topological order, each naming the nodes it reads.

`Graph` is what capture makes of a YOLO (real-valued weights, CQReLU activations); `SpikingGraph` is what conversion
makes of a `Graph` (weights in units of the threshold, neurons). Both hold the node types below and know nothing of
Ultralytics. Feature maps are (B, C, H, W).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated

import torch

from casc_det.errors import ConversionError
from casc_det.graph import fields as r

PIXEL_LEVELS = 255
POINTWISE = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "hardsigmoid": torch.nn.functional.hardsigmoid}
MOST_NODES = 4096


@dataclass(repr=False)
class Node:
    """`name` is unique in its graph; `inputs` are names of earlier nodes."""

    name: str
    inputs: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: of a tensor its shape and dtype."""
        brief = lambda x: f"<{str(x.dtype)[6:]} {tuple(x.shape)}>" if isinstance(x, torch.Tensor) else repr(x)
        return f"{type(self).__name__}({', '.join(f'{f.name}={brief(getattr(self, f.name))}' for f in fields(self))})"


@dataclass(repr=False)
class Input(Node):
    """The picture, (B, 3, H, W) RGB in 0..1."""

    channels: Annotated[int, r.Rule("3", lambda x: type(x) is int and x == 3)] = 3


@dataclass(repr=False)
class Conv(Node):
    """y = weight * x + bias. In a SpikingGraph x are spikes; `bias`: see `SpikingGraph.wake_bias`."""

    weight: torch.Tensor = None
    bias: torch.Tensor = None
    stride: r.From1 = (1, 1)
    padding: r.From0 = (0, 0)
    dilation: r.From1 = (1, 1)
    groups: r.Groups = 1


@dataclass(repr=False)
class BatchNorm(Node):
    """y = scale*x + shift per channel; folded into the convolution before it by conversion."""

    scale: torch.Tensor = None
    shift: torch.Tensor = None


@dataclass(repr=False)
class Activation(Node):
    """CQReLU with clip `lam` (see `casc_det.neurons.activation`); only in a Graph."""

    lam: r.Positive = 1.0
    levels: r.Levels = 8


@dataclass(repr=False)
class Neuron(Node):
    """A layer of CIF neurons with threshold `theta` (see `casc_det.neurons`); only in a SpikingGraph.

    `theta` is a number or, in an integer graph, whole numbers per channel, (C, 1, 1). `lam` is the real value that Q
    spikes stand for, the clip of its CQReLU.
    """

    theta: r.Threshold = 1.0
    levels: r.Levels = 8
    lam: r.Positive = 1.0


@dataclass(repr=False)
class MaxPool(Node):
    """Max pool; on spike trains maxpool(count at t) - maxpool(count at t-1)."""

    kernel: r.From1 = (2, 2)
    stride: r.From1 = (2, 2)
    padding: r.From0 = (0, 0)
    dilation: r.From1 = (1, 1)
    ceil_mode: r.Flag = False


@dataclass(repr=False)
class AvgPool(Node):
    """Average pool, linear: the same on spikes, whose mean is graded. In an integer graph `divisor` is 1: a sum."""

    kernel: r.From1 = (2, 2)
    stride: r.From1 = (2, 2)
    padding: r.From0 = (0, 0)
    divisor: r.Divisor = None


@dataclass(repr=False)
class Pointwise(Node):
    """Any other elementwise function (`POINTWISE`), as temporal difference f(sum at t) - f(sum at t-1); graded.

    `scale` per channel, (C, 1, 1), turns summed spikes into the real value; only in a SpikingGraph.
    """

    function: Annotated[str, r.one_of(*POINTWISE)] = "sigmoid"
    scale: r.Scale = None


@dataclass(repr=False)
class Unsupported(Node):
    """An op that cannot be captured: what it is and what to do instead; never in a SpikingGraph."""

    what: str = ""
    remedy: str = ""


@dataclass(repr=False)
class Add(Node):
    """Sum of two maps of equal amplitude."""


@dataclass(repr=False)
class Concat(Node):
    """Concatenation along channels."""


@dataclass(repr=False)
class Upsample(Node):
    """Nearest-neighbour upsampling by integer factors (rows, columns)."""

    scale: r.From1 = (2, 2)


@dataclass(repr=False)
class ZeroPad(Node):
    """Zero padding (left, right, top, bottom)."""

    padding: r.Border = (0, 0, 0, 0)


@dataclass(repr=False)
class Slice(Node):
    """Channels `start` to `stop` (exclusive)."""

    start: r.Channels = 0
    stop: r.Channels = 0


@dataclass(repr=False)
class Readout(Node):
    """An output of the network without neuron: its input current summed over time. `kind` is "boxes" or "scores".

    `scale` per channel, (C, 1, 1), turns the sum of an integer graph into real values; None where it is real already.
    """

    kind: Annotated[str, r.one_of("boxes", "scores")] = "boxes"
    level: r.Channels = 0
    scale: r.Scale = None


NODE_TYPES = {
    kind.__name__: kind
    for kind in (
        Input, Conv, BatchNorm, Activation, Neuron, MaxPool, AvgPool, Pointwise, Add, Concat, Upsample, ZeroPad,
        Slice, Readout, Unsupported,
    )
}  # fmt: skip


def _check_node(node: Node) -> None:
    """Raise ConversionError where a node has the wrong number of inputs, a wrong value or no usable weights."""
    r.check_name(node.name, f"a node ({type(node).__name__})")
    fewest, most = {Input: (0, 0), Add: (2, 2), Concat: (1, None), Unsupported: (0, None)}.get(type(node), (1, 1))
    if type(node.inputs) is not tuple or not all(isinstance(name, str) for name in node.inputs):
        raise ConversionError(f"graph: node '{node.name}' has inputs={r.shown(node.inputs)}, expected a tuple of names")
    if not fewest <= len(node.inputs) <= (len(node.inputs) if most is None else most):
        expected = fewest if most == fewest else f"at least {fewest}"
        raise ConversionError(
            f"graph: node '{node.name}' ({type(node).__name__}) has {len(node.inputs)} inputs, expected {expected}"
        )
    r.check_fields(f"node '{node.name}' ({type(node).__name__}) has", node)
    if isinstance(node, Conv):
        shapes = [tuple(x.shape) if isinstance(x, torch.Tensor) else None for x in (node.weight, node.bias)]
        weight, bias = shapes
        if weight is None or len(weight) != 4 or bias != weight[:1] or 0 in weight:
            raise ConversionError(
                f"graph: node '{node.name}' (Conv) has a weight of shape {weight} and a bias of shape {bias}, expected "
                "(out, in, height, width) and (out,)"
            )
        if max(weight[2:]) > r.LARGEST:
            raise ConversionError(
                f"graph: node '{node.name}' (Conv) has a kernel of {weight[2:]}, expected at most {r.LARGEST}"
            )


@dataclass(repr=False)
class Graph:
    """A detector as captured.

    Attributes:
        nodes: topological order, `Input` first.
        names: class names, index = label.
        strides: pixels per cell of each detection level.
        reg_max: bins of the box distribution (DFL); 1 means plain distances.
        imgsz: longest side in pixels the network was trained for.
        meta: provenance, JSON values.
    """

    nodes: list[Node]
    names: r.Names
    strides: r.Strides
    reg_max: r.Bins
    imgsz: r.Side
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise ConversionError("graph: expected an Input as its first node")
        if len(self.nodes) > MOST_NODES:
            raise ConversionError(f"graph: it has {len(self.nodes)} nodes, expected at most {MOST_NODES}")
        r.check_fields("it has", self)
        seen = set()
        for node in self.nodes:
            _check_node(node)
            for name in node.inputs:
                if name not in seen:
                    raise ConversionError(
                        f"graph: node '{node.name}' ({type(node).__name__}) reads {r.shown(name)}, which is no earlier "
                        "node; nodes must be in topological order"
                    )
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

    def of_type(self, kind: type | tuple[type, ...]) -> list[Node]:
        return [node for node in self.nodes if isinstance(node, kind)]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.of_type(Conv)[0].weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.of_type(Conv)[0].weight.device

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each node, by name."""
        result = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                result[name].append(node)
        return result


@dataclass(repr=False)
class SpikingGraph(Graph):
    """A spiking detector: `Neuron` in place of `Activation`, no `BatchNorm`, one `levels` (Q) for all.

    Real-valued: weights are in units of the threshold they drive (theta = 1), the picture is injected as it is (0..1)
    at each wake step, and so is each convolution's bias.
    Integer (`integer`; see `conversion.integer`): pixels 0..255, weights, thresholds, biases, potentials and summed
    readouts are whole numbers below 2^24, which float32 and float64 hold and add without error, in any order. The
    methods below are all that differs between the two.
    """

    levels: r.Levels = 8
    integer: r.Flag = False

    def _summary(self) -> str:
        kind, layers = "integer" if self.integer else "real-valued", len(self.of_type(Neuron))
        return f"{kind}, {self.levels} levels, {layers} layers of neurons, {super()._summary()}"

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """What a wake step injects for pictures (B, 3, H, W) in 0..1."""
        return torch.round(images * PIXEL_LEVELS) if self.integer else images

    def start(self, node: Neuron) -> float | torch.Tensor:
        """The potential before the first step: half the threshold, the 1/2 of CQReLU."""
        return node.theta // 2 if self.integer else node.theta / 2

    def wake_bias(self, node: Conv, t: int) -> torch.Tensor:
        """What wake step t = 1, 2, ... adds, (C, 1, 1): the bias; integers: its share of the total of Q steps."""
        if self.integer:
            total = node.bias.long()
            share = total * t // self.levels - total * (t - 1) // self.levels
            return share.to(node.bias.dtype).view(-1, 1, 1)
        return node.bias.view(-1, 1, 1)

    def summed_bias(self, node: Conv, steps: int) -> torch.Tensor:
        """What the first `steps` wake steps add together, (C, 1, 1)."""
        if self.integer:
            return (node.bias.long() * steps // self.levels).to(node.bias.dtype).view(-1, 1, 1)
        return steps * node.bias.view(-1, 1, 1)

    def output(self, node: Readout, total: torch.Tensor, divisor: int) -> torch.Tensor:
        """The real values of a readout whose currents sum to `total`; float64 for an integer graph."""
        if node.scale is None:
            return total / divisor
        return (total * node.scale.double()).div_(divisor)


def per_channel(graph: Graph, rules: dict[type, Callable[[Node, list], torch.Tensor | None]]) -> dict:
    """Values per channel (C,) of every map, by node name, from the picture on; None behind a node that gives None.

    rules: what nodes of a type make of the values of their inputs; the others hand them on, channel by channel.
    """
    values: dict[str, torch.Tensor | None] = {}
    for node in graph.nodes:
        parts = [values[name] for name in node.inputs]
        if any(part is None for part in parts):
            value = None
        elif type(node) in rules:
            value = rules[type(node)](node, parts)
        elif isinstance(node, Concat):
            value = torch.cat(parts)
        elif isinstance(node, Slice):
            value = parts[0][node.start : node.stop]
        else:
            value = parts[0]
        values[node.name] = value
    return values


def per_weight(node: Conv, per_channel: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the input channels of a convolution have, (C,) by node name, for each of its weights: (O, I, 1, 1)."""
    inner = per_channel[node.inputs[0]].view(node.groups, node.weight.shape[1])
    return inner.repeat_interleave(len(node.weight) // node.groups, 0)[:, :, None, None]


def settings(node: Node) -> dict:
    """The fields of a node that are not tensors, besides name and inputs."""
    skip = ("name", "inputs")
    return {
        f.name: getattr(node, f.name)
        for f in fields(node)
        if f.name not in skip and not isinstance(getattr(node, f.name), torch.Tensor | None)
    }


def tensors(node: Node) -> dict[str, torch.Tensor]:
    """The tensor fields of a node."""
    return {f.name: getattr(node, f.name) for f in fields(node) if isinstance(getattr(node, f.name), torch.Tensor)}


def moved(graph: Graph, dtype: torch.dtype, device: str | torch.device = "cpu") -> Graph:
    """The same graph with its tensors in another dtype and on another device."""
    nodes = [replace(node, **{k: v.to(device, dtype) for k, v in tensors(node).items()}) for node in graph.nodes]
    return replace(graph, nodes=nodes)


def on_meta(node: Node) -> Node:
    """The node with tensors that have a shape but no values."""
    return replace(node, **{key: value.to("meta") for key, value in tensors(node).items()})


def contents(graph: SpikingGraph) -> list:
    """All that a `Network` is made of, to tell whether it was changed since: of a tensor which one it is, and a sum.

    The sum finds changes that do not count as a new version of a tensor (those of `.data` and of numpy arrays).
    """

    def brief(value):
        if not isinstance(value, torch.Tensor):
            return value
        version = None if value.is_inference() else value._version
        words = value.detach().reshape(-1)
        pairs = len(words) * value.element_size() // 8 * 8 // value.element_size()
        return id(value), version, value.shape, words[:pairs].view(torch.int64).sum().item(), words[pairs:].tolist()

    nodes = [(type(node), *((key, brief(value)) for key, value in vars(node).items())) for node in graph.nodes]
    return [graph.levels, graph.integer, *nodes]
