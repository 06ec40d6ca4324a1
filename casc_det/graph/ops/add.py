"""Addition, as in residual connections."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph.node import Elementwise, Place, Spiking

LARGEST = 2.0**62  # a sum far above every bound, and not infinite


@dataclass(frozen=True, eq=False, repr=False)
class Add(Elementwise):
    """Sum of two maps of equal amplitude."""

    arity = (2, 2)
    spiking = Spiking.LINEAR
    integer = True
    note = "linear, the same on spikes"

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return x + others[0]

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of both."""
        if parts[0] != parts[1]:
            self.refuse(f"adds maps of {parts[0]} and {parts[1]} channels")
        return parts[0]

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """That of both."""
        return parts[0]

    def unit(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """That of both."""
        return parts[0]

    def bound(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Both at once."""
        return (parts[0] + parts[1]).clamp(max=LARGEST)

    def problem(self, place: Place, amplitudes: Sequence[torch.Tensor | None]) -> str | None:
        """Spikes that are added must stand for the same."""
        first, second = amplitudes
        if first is None or second is None or torch.equal(first, second):
            return None
        return "its two inputs have different amplitudes; activations that meet in an addition must share one clip lam"
