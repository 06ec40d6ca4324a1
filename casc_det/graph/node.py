"""What a node of a graph is, and the rules that an op brings with it.

An op is one file in `casc_det.graph.ops`: a frozen dataclass with its fields and the rules below as methods. Whatever
looks at graphs (ANN twin, engines, conversion, bounds, checks) asks the node, so that nothing else knows a list of ops.
An op that lacks a rule is refused by the audit, and where a spiking graph is loaded or simulated (`lacking`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar

import torch

from casc_det.base.arguments import shown
from casc_det.errors import ConversionError
from casc_det.graph import fields as r
from casc_det.graph.extent import Extent


class Spiking(Enum):
    """How an op is carried over to spike trains."""

    LINEAR = "linear"  # the same op on the signals of each step
    TEMPORAL = "temporal difference"  # f(sum at t) - f(sum at t-1)
    ENGINE = "engine"  # the engines have a rule of their own for it: where input, weights, neurons and outputs are
    CONVERSION = "conversion"  # conversion puts something else in its place
    REFUSED = "refused"


class Place(NamedTuple):
    """Where a node stands in its graph: what it reads, who reads it, and all that read its first input."""

    sources: tuple["Node", ...]
    readers: tuple["Node", ...]
    siblings: tuple["Node", ...]


AnyNode = TypeVar("AnyNode", bound="Node")


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """`name` is unique in its graph; `inputs` are names of earlier nodes.

    A node is equal to itself alone: an edited one (`dataclasses.replace`) is another node.

    Class attributes:
        arity: fewest and most inputs; None: any number.
        spiking: how the op is carried over to spike trains.
        graded: whether what it sends has other values than counts, so that a temporal difference is no spike.
        integer: whether integers stay integers, as they must in an integer graph.
        takes_current: whether the current of a convolution ends in it: neurons, an output.
        note: what the audit says of it.
    """

    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    spiking: ClassVar[Spiking | None] = None
    graded: ClassVar[bool] = False
    integer: ClassVar[bool] = False
    takes_current: ClassVar[bool] = False
    note: ClassVar[str] = ""

    name: str
    inputs: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: of a tensor its shape and dtype."""
        brief = lambda x: f"<{str(x.dtype)[6:]} {tuple(x.shape)}>" if isinstance(x, torch.Tensor) else repr(x)
        return f"{type(self).__name__}({', '.join(f'{f.name}={brief(getattr(self, f.name))}' for f in fields(self))})"

    @property
    def label(self) -> str:
        """What the op is called in the audit."""
        return type(self).__name__

    # rules without which an op is refused

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """What it computes of its inputs, (B, C, H, W) each."""
        raise self._lacks("compute")

    def out_channels(self, parts: Sequence[int]) -> int:
        """Its number of channels, of those of its inputs; ConversionError where they do not fit."""
        raise self._lacks("out_channels")

    def extent(self, before: Extent, axis: int) -> Extent:
        """Its rows (axis 0) or columns (1), of those of its inputs; ConversionError where they do not fit."""
        raise self._lacks("extent")

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Real value of 1 of its signal, per channel (C,), of those of its inputs."""
        raise self._lacks("amplitude")

    def unit(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """What 1 of its signal in the integer graph is in the real-valued one, (C,), of those of its inputs."""
        raise self._lacks("unit")

    def bound(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The largest magnitude that its running sum can reach, (C,) float64, of those of its inputs."""
        raise self._lacks("bound")

    # rules with an answer for most ops

    def work(self) -> int:
        """Multiplications or comparisons for each value of its map."""
        return 1

    def balanced(self, amplitudes: Sequence[torch.Tensor]) -> "Node":
        """The node for signals in units of the amplitudes of its inputs, (C,) each, in place of real values."""
        return self

    def form(self, integer: bool) -> "Node":
        """The node as an integer graph has it, or a real-valued one, where the op alone tells."""
        return self

    def problem(self, place: Place, amplitudes: Sequence[torch.Tensor | None]) -> str | None:
        """Why it cannot be converted from where it stands in a captured graph, and what to do; None: it can.

        amplitudes: of its inputs; None behind what cannot be converted.
        """
        return None

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """Raise ConversionError where it cannot stand there in a spiking graph of such numbers."""
        if integer and not self.integer:
            self.refuse("is no op on integers")

    def check(self) -> None:
        """Raise ConversionError where its name, the number of its inputs or a field is not what it must be."""
        kind = type(self).__name__
        r.check_name(self.name, f"a node ({kind})")
        if type(self.inputs) is not tuple or not all(isinstance(name, str) for name in self.inputs):
            raise ConversionError(
                f"graph: node '{self.name}' has inputs={shown(self.inputs)}, expected a tuple of names"
            )
        fewest, most = self.arity
        if len(self.inputs) < fewest or (most is not None and len(self.inputs) > most):
            expected = fewest if most == fewest else f"at least {fewest}"
            self.refuse(f"has {len(self.inputs)} inputs, expected {expected}")
        r.check_fields(f"node '{self.name}' ({kind}) has", self)

    def refuse(self, problem: str) -> NoReturn:
        """Raise ConversionError that names the node."""
        raise ConversionError(f"graph: node '{self.name}' ({type(self).__name__}) {problem}")

    def _lacks(self, rule: str) -> ConversionError:
        return ConversionError(f"graph: node '{self.name}' ({type(self).__name__}) has no rule '{rule}'")


class Elementwise(Node):
    """An op whose map has the channels and the size of each of its inputs."""

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its inputs."""
        return parts[0]

    def extent(self, before: Extent, axis: int) -> Extent:
        """That of its inputs."""
        return before


class Moving(Node):
    """An op that hands values on: each value of its map is one of the values of its inputs, or zero.

    So what holds for a channel of its input holds for the channel that it goes to.
    """

    spiking = Spiking.LINEAR
    integer = True
    note = "linear, the same on spikes"

    def moved(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Values per channel of its inputs, (C,) each, as its own channels have them."""
        return parts[0]

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Node.amplitude`."""
        return self.moved(parts)

    def unit(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Node.unit`."""
        return self.moved(parts)

    def bound(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """See `Node.bound`."""
        return self.moved(parts)


NEEDED = {
    Spiking.LINEAR: ("compute", "out_channels", "extent", "amplitude", "bound"),
    Spiking.TEMPORAL: ("compute", "out_channels", "extent", "amplitude", "bound"),
    Spiking.ENGINE: ("out_channels", "extent"),
    Spiking.CONVERSION: (),
    Spiking.REFUSED: (),
}


def lacking(kind: type[Node]) -> list[str]:
    """The rules that an op of a kind lacks."""
    if kind.spiking is None:
        return ["spiking"]
    needed = (*NEEDED[kind.spiking], *(["unit"] if kind.integer and kind.spiking is not Spiking.ENGINE else []))
    return [name for name in needed if getattr(kind, name) is getattr(Node, name)]


def settings(node: Node) -> dict:
    """The fields of a node that are not tensors, besides name and inputs."""
    values = {f.name: getattr(node, f.name) for f in fields(node) if f.name not in ("name", "inputs")}
    return {key: value for key, value in values.items() if not isinstance(value, torch.Tensor | None)}


def tensors(node: Node) -> dict[str, torch.Tensor]:
    """The tensor fields of a node."""
    return {f.name: getattr(node, f.name) for f in fields(node) if isinstance(getattr(node, f.name), torch.Tensor)}


def with_tensors(node: AnyNode, values: Mapping[str, torch.Tensor]) -> AnyNode:
    """The node with other tensors in some fields."""
    changes: dict[str, Any] = dict(values)
    return replace(node, **changes)


def on_meta(node: AnyNode) -> AnyNode:
    """The node with tensors that have a shape but no values."""
    return with_tensors(node, {key: value.to("meta") for key, value in tensors(node).items()})
