"""Some of the channels, as `chunk` and `split` take them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent
from casc_det.graph.node import Moving


@dataclass(frozen=True, eq=False, repr=False)
class Slice(Moving):
    """Channels `start` to `stop` (exclusive)."""

    start: r.Channels = 0
    stop: r.Channels = 0

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """The chosen channels."""
        return x[:, self.start : self.stop]

    def moved(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The chosen channels."""
        return parts[0][self.start : self.stop]

    def out_channels(self, parts: Sequence[int]) -> int:
        """As many as are chosen."""
        if not self.start < self.stop <= parts[0]:
            self.refuse(f"takes channels {self.start} to {self.stop} of {parts[0]}")
        return self.stop - self.start

    def extent(self, before: Extent, axis: int) -> Extent:
        """That of its input."""
        return before
