"""Outputs of the network."""

from dataclasses import dataclass
from typing import Annotated

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Moving, Place, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class Readout(Elementwise, Moving):
    """An output of the network without neuron: its input current summed over time. `kind` is "boxes" or "scores".

    `scale` per channel, (C, 1, 1), turns the sum of an integer graph into real values; None where it is real already.
    """

    spiking = Spiking.ENGINE
    takes_current = True
    note = "current summed over time"

    kind: Annotated[str, r.one_of("boxes", "scores")] = "boxes"
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
