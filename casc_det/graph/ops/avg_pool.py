"""Average pool."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch.nn import functional as F

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent, Window
from casc_det.graph.node import Node, Place, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class AvgPool(Node):
    """Average pool, linear: the same on spikes, whose mean is graded. In an integer graph `divisor` is 1: a sum."""

    spiking = Spiking.LINEAR
    graded = True
    integer = True
    note = "linear; output is graded"

    kernel: r.From1 = (2, 2)
    stride: r.From1 = (2, 2)
    padding: r.From0 = (0, 0)
    divisor: r.Divisor = None

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """See `torch.nn.AvgPool2d`; the padding counts."""
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding, divisor_override=self.divisor)

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its input."""
        return parts[0]

    def extent(self, before: Extent, axis: int) -> Extent:
        """One value for each window."""
        window = Window(self.kernel[axis], self.stride[axis], self.padding[axis])
        if problem := window.padding_problem(before) or window.problem(before):
            self.refuse(problem)
        return window.over(before)

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """That of its input: the mean is in its units."""
        return parts[0]

    def unit(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The sum of an integer graph is as many times larger as a window has values."""
        return parts[0] / prod(self.kernel)

    def bound(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """A full window."""
        area = prod(self.kernel)
        return parts[0] * area / (self.divisor or area)

    def work(self) -> int:
        """Additions for each value."""
        return prod(self.kernel)

    def form(self, integer: bool) -> "AvgPool":
        """A sum of integers, a mean of real values."""
        return replace(self, divisor=1 if integer else None)

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """A mean of integers is none."""
        if integer and self.divisor != 1:
            self.refuse(f"has divisor={self.divisor}, expected 1: in an integer graph it adds up")
