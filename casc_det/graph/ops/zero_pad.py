"""Padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent
from casc_det.graph.node import Moving


@dataclass(frozen=True, eq=False, repr=False)
class ZeroPad(Moving):
    """Zero padding (left, right, top, bottom)."""

    padding: r.Border = (0, 0, 0, 0)

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """See `torch.nn.ZeroPad2d`."""
        return F.pad(x, self.padding)

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its input."""
        return parts[0]

    def extent(self, before: Extent, axis: int) -> Extent:
        """Its input with both borders."""
        return Extent(before.slope, before.offset + sum(self.padding[2:] if axis == 0 else self.padding[:2]))
