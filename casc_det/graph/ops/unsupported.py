"""What conversion cannot carry over."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph.node import Node, Place, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class Unsupported(Node):
    """An op that cannot be captured: what it is and what to do instead; never in a SpikingGraph."""

    arity = (0, None)
    spiking = Spiking.REFUSED

    what: str = ""
    remedy: str = ""

    @property
    def label(self) -> str:
        """What it is."""
        return self.what

    def problem(self, place: Place, amplitudes: Sequence[torch.Tensor | None]) -> str | None:
        """What to do instead."""
        return self.remedy
