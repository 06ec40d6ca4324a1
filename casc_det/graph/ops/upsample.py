"""Upsampling."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent
from casc_det.graph.node import Moving


@dataclass(frozen=True, eq=False, repr=False)
class Upsample(Moving):
    """Nearest-neighbour upsampling by integer factors (rows, columns)."""

    scale: r.From1 = (2, 2)

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """Each value as a block of `scale` values."""
        return F.interpolate(x, scale_factor=tuple(float(s) for s in self.scale), mode="nearest")

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its input."""
        return parts[0]

    def extent(self, before: Extent, axis: int) -> Extent:
        """As many times as large."""
        return Extent(before.slope * self.scale[axis], before.offset * self.scale[axis])
