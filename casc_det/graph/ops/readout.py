"""Outputs of the network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Moving, Place, Spiking

if TYPE_CHECKING:
    from casc_det.graph.graph import Graph


class Kind(NamedTuple):
    """What is read out. task: the network's, as its head is called, see `casc_det.heads`.

    channels: as many as a graph must have of it for each of its strides; words: what that number is.
    """

    task: str
    channels: Callable[["Graph"], int]
    words: str


KINDS = {
    "boxes": Kind("detect", lambda graph: 4 * graph.reg_max, "4 * reg_max"),
    "scores": Kind("detect", lambda graph: len(graph.names), "the number of class names"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Readout(Elementwise, Moving):
    """An output of the network without neuron: its input current summed over time. `kind` is a key of `KINDS`.

    `scale` per channel, (C, 1, 1), turns the sum of an integer graph into real values; None where it is real already.
    """

    spiking = Spiking.ENGINE
    takes_current = True
    note = "current summed over time"

    kind: Annotated[str, r.one_of(*KINDS)] = "boxes"
    level: r.Channels = 0
    scale: r.Scale = None

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """Nothing follows it; the sum of an integer graph has a scale."""
        if place.readers:
            self.refuse(f"is read by '{place.readers[0].name}'; a readout is an output")
        if integer and self.scale is None:
            self.refuse("lacks its scale")
        if not integer and self.scale is not None:
            self.refuse("has a scale, which only an integer graph has")
