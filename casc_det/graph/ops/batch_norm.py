"""Batch normalisation of a captured network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph.node import Moving, Place, Spiking
from casc_det.graph.ops.conv import Conv


@dataclass(frozen=True, eq=False, repr=False)
class BatchNorm(Moving):
    """y = scale*x + shift per channel; folded into the convolution before it by conversion."""

    spiking = Spiking.CONVERSION
    note = "folded into the convolution"

    scale: torch.Tensor = None  # type: ignore[assignment]  # (C,)
    shift: torch.Tensor = None  # type: ignore[assignment]

    def problem(self, place: Place, amplitudes: Sequence[torch.Tensor | None]) -> str | None:
        """It needs a convolution of its own."""
        if not isinstance(place.sources[0], Conv):
            return "BatchNorm must follow a convolution directly; move it there"
        if len(place.siblings) > 1:
            return "its convolution is also used without BatchNorm; give each use a convolution of its own"
        return None
