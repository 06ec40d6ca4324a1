"""Max pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch.nn import functional as F

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent, Window
from casc_det.graph.node import Moving, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class MaxPool(Moving):
    """Max pool; on spike trains maxpool(count at t) - maxpool(count at t-1)."""

    spiking = Spiking.TEMPORAL
    note = "maxpool(count at t) - maxpool(count at t-1)"

    kernel: r.From1 = (2, 2)
    stride: r.From1 = (2, 2)
    padding: r.From0 = (0, 0)
    dilation: r.From1 = (1, 1)
    ceil_mode: r.Flag = False

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """See `torch.nn.MaxPool2d`."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its input."""
        return parts[0]

    def extent(self, before: Extent, axis: int) -> Extent:
        """One value for each window."""
        geometry = (self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis])
        window = Window(*geometry, ceil=self.ceil_mode)
        if problem := window.padding_problem(before) or window.problem(before):
            self.refuse(problem)
        return window.over(before)

    def work(self) -> int:
        """Comparisons for each value."""
        return prod(self.kernel)
