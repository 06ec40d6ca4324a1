"""Concatenation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph.extent import Extent
from casc_det.graph.node import Moving


@dataclass(frozen=True, eq=False, repr=False)
class Concat(Moving):
    """Concatenation along channels."""

    arity = (1, None)

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """One behind the other."""
        return torch.cat((x, *others), 1)

    def moved(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """One behind the other."""
        return torch.cat(tuple(parts))

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of all inputs."""
        return sum(parts)

    def extent(self, before: Extent, axis: int) -> Extent:
        """That of its inputs."""
        return before
