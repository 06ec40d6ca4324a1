"""Convolutions of spike trains: exact sums of integers in 8 bits where the processor has it, else in floats.

Spikes are uint8 with a zero point, channels last (see `simulation.fast.forms`). oneDNN adds 8-bit products in 32-bit
integers; in float32 the same sums are exact because all of them stay below 2^24 (`casc_det.conversion.integer`).
"""

from functools import cache

import torch

from casc_det import graph as g

LARGEST_ZERO = 64  # without VNNI oneDNN adds pairs of products in 16 bits: 2 * 127 * 2 * 64 still fits
LARGEST_SUM = 2**24  # of products of a weight and a uint8, at any zero point: exact in 32-bit integers and in floats


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same maps (B, C, H, W), in memory as (B, H, W, C)."""
    return x.contiguous(memory_format=torch.channels_last)


class Int8Convolution:
    """oneDNN's 8-bit convolution, integer weights from -128 to 127, without bias."""

    def __init__(self, node: g.Conv) -> None:
        self.weight = node.weight.to(torch.int8)
        self.geometry = (list(node.stride), list(node.padding), list(node.dilation), node.groups)
        self.scales = torch.ones(len(self.weight))
        self.zeros = torch.zeros(len(self.weight), dtype=torch.int32)
        self.packed: dict[int, torch.Tensor] = {}
        self.reach = float(node.weight.double().abs().sum((1, 2, 3)).max())

    def fits(self, zero: int) -> bool:
        """Whether no sum of uint8 at zero point `zero` times weights can leave its range, the zero point included."""
        return zero <= LARGEST_ZERO and 2 * zero * self.reach < LARGEST_SUM

    @staticmethod
    def knows(node: g.Conv) -> bool:
        """Whether a geometry is one that oneDNN computes right: it is wrong, and may write outside of its memory, where
        a window holds padding only or where strides differ. Such windows need a dilation or a padding as large as the
        kernel."""
        kernel = node.weight.shape[2:]
        inside = all(padding < side for padding, side in zip(node.padding, kernel, strict=True))
        return inside and node.dilation == (1, 1) and node.stride[0] == node.stride[1]

    def __call__(self, x: torch.Tensor, zero: int) -> torch.Tensor:
        """Sums (R, O, H', W') float32 of uint8 (R, C, H, W) at zero point `zero`."""
        ops = torch.ops.onednn
        if zero not in self.packed:
            self.packed[zero] = ops.qconv_prepack(self.weight, self.scales, 1.0, zero, *self.geometry, None)
        return ops.qconv2d_pointwise(
            *(x, 1.0, zero, self.packed[zero], self.scales, self.zeros, None, *self.geometry),
            *(1.0, 0, torch.float32, "none", [], ""),
        )


@cache
def has_int8() -> bool:
    """Whether torch has the 8-bit convolution here and its sums are right."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (16, 16, 3, 3), generator=random).float()
    node = g.Conv("trial", (), weight, torch.zeros(16), padding=(1, 1))
    spikes = channels_last(torch.randint(0, 2 * LARGEST_ZERO + 1, (2, 16, 8, 8), generator=random).to(torch.uint8))
    try:
        found = Int8Convolution(node)(spikes, LARGEST_ZERO)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.equal(found, node.compute(spikes.float() - LARGEST_ZERO))


class SpikeConvolution:
    """One convolution of a spiking graph without its bias. `integer`: its weights are integers below 128."""

    def __init__(self, node: g.Conv, integer: bool) -> None:
        self.node, self.integer = node, integer
        int8 = integer and node.weight.device.type == "cpu" and Int8Convolution.knows(node) and has_int8()
        self.int8 = Int8Convolution(node) if int8 else None

    def __call__(self, x: torch.Tensor, zero: int = 0) -> torch.Tensor:
        """Currents (R, O, H', W') in the weights' dtype, channels last, of (R, C, H, W): uint8 at `zero`, or floats."""
        dtype = self.node.weight.dtype
        if x.dtype == torch.uint8 and self.int8 and self.int8.fits(zero):
            return channels_last(self.int8(x, zero)).to(dtype)
        x = x.to(dtype) - zero if x.dtype == torch.uint8 else x
        return channels_last(self.node.compute(x, integer=self.integer))
