"""Convolutions: where the weights are, on real values, spikes or counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from casc_det.graph import fields as r
from casc_det.graph.extent import Extent, Window
from casc_det.graph.node import Node, Place, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class Conv(Node):
    """y = weight * x + bias. In a SpikingGraph x are spikes; `bias`: see `SpikingGraph.wake_bias`."""

    spiking = Spiking.ENGINE
    integer = True
    note = "on spikes; weights balanced"

    weight: torch.Tensor = None  # type: ignore[assignment]  # (O, I / groups, height, width); `check` refuses none
    bias: torch.Tensor = None  # type: ignore[assignment]  # (O,)
    stride: r.From1 = (1, 1)
    padding: r.From0 = (0, 0)
    dilation: r.From1 = (1, 1)
    groups: r.Groups = 1

    def compute(self, x: torch.Tensor, *others: torch.Tensor, integer: bool = False) -> torch.Tensor:
        """The convolution without its bias, in the dtype of `x`.

        integer: of integers, whose sums stay below 2^24 (`graph.bounds`): then the result is exact on every device. On
        CPUs products are added as they are, which float32 does without error. A GPU may drop bits of the factors (TF32)
        or add fractions (Winograd, FFT), whose errors float32 does not keep below 1/2. So other devices compute in
        float64, which has no TF32 and errors of 2^-53 of the sums, a millionth of 1/2 in any algorithm, and then round.
        """
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        if x.device.type == "cpu":
            return F.conv2d(x, self.weight, None, *geometry)
        y = F.conv2d(x.double(), self.weight.double(), None, *geometry)
        return (y.round_() if integer else y).to(x.dtype)

    def per_weight(self, values: torch.Tensor) -> torch.Tensor:
        """What its input channels have, (C,), for each of its weights: (O, I, 1, 1)."""
        inner = values.view(self.groups, self.weight.shape[1])
        return inner.repeat_interleave(len(self.weight) // self.groups, 0)[:, :, None, None]

    def out_channels(self, parts: Sequence[int]) -> int:
        """Its filters."""
        out, inner = self.weight.shape[:2]
        if parts[0] != inner * self.groups or out % self.groups:
            self.refuse(f"has weights of {out} x {inner} channels in {self.groups} groups and reads {parts[0]}")
        return out

    def extent(self, before: Extent, axis: int) -> Extent:
        """One value for each window."""
        kernel = self.weight.shape[2 + axis]
        window = Window(kernel, self.stride[axis], self.padding[axis], self.dilation[axis])
        if problem := window.problem(before):
            self.refuse(problem)
        return window.over(before)

    def work(self) -> int:
        """Multiplications for each value."""
        return self.weight[0].numel()

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """In an integer graph it drives one layer of neurons or one output, whose threshold is its unit."""
        if integer and not (len(place.readers) == 1 and place.readers[0].takes_current):
            self.refuse("of an integer graph must drive one layer of neurons or one readout, and nothing else")

    def check(self) -> None:
        """See `Node.check`."""
        super().check()
        weight, bias = (tuple(x.shape) if isinstance(x, torch.Tensor) else None for x in (self.weight, self.bias))
        if weight is None or len(weight) != 4 or bias != weight[:1] or 0 in weight:
            self.refuse(
                f"has a weight of shape {weight} and a bias of shape {bias}, expected (out, in, height, width) and "
                "(out,)"
            )
        if max(weight[2:]) > r.LARGEST:
            self.refuse(f"has a kernel of {weight[2:]}, expected at most {r.LARGEST}")
