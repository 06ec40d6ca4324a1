"""Elementwise functions that no neuron follows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Place, Spiking

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardsigmoid": torch.nn.functional.hardsigmoid,
}


@dataclass(frozen=True, eq=False, repr=False)
class Pointwise(Elementwise):
    """Any other elementwise function (`FUNCTIONS`), as temporal difference f(sum at t) - f(sum at t-1); graded.

    `scale` per channel, (C, 1, 1), turns summed spikes into the real value; only in a SpikingGraph.
    """

    spiking = Spiking.TEMPORAL
    graded = True
    note = "f(sum at t) - f(sum at t-1); graded, not spikes"

    function: Annotated[str, r.one_of(*FUNCTIONS)] = "sigmoid"
    scale: r.Scale = None

    @property
    def label(self) -> str:
        """Its function."""
        return self.function

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The function of real values."""
        return FUNCTIONS[self.function](x if self.scale is None else x * self.scale)

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """What it sends is the real value."""
        return torch.ones_like(parts[0])

    def bound(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Each function stays within -1..1."""
        return torch.ones_like(parts[0])

    def balanced(self, amplitudes: Sequence[torch.Tensor]) -> "Pointwise":
        """Its function is of real values."""
        return replace(self, scale=amplitudes[0].view(-1, 1, 1))

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """It needs to know what a spike stands for."""
        if self.scale is None:
            self.refuse("lacks its scale")
        super().check_place(place, levels, integer)
