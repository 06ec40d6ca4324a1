"""The Triton form of `casc_det.simulation.fast.forms.scan`, for CUDA.

Tested in Triton's interpreter; not measured on a GPU yet.
"""
# ruff: noqa: ANN001, ANN202  types are Triton's to find

import torch
import triton
import triton.language as tl

from casc_det.simulation.fast.forms import Layer

BLOCK = 1024


@triton.jit
def _scan(
    current, rows, bias, theta, v, n, images, limits, lows, spikes, fired, size, channels, tiled, steps, batch,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of neurons of one image over all steps."""
    b = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside, channel = at < size, at % channels
    state = tl.load(images + b) * size + at
    potential = tl.load(v + state, mask=inside, other=0.0)
    count = tl.load(n + state, mask=inside, other=0).to(tl.int32)
    threshold = tl.load(theta + channel)
    for k in range(steps):
        row = tl.load(rows + k * batch + b)
        came = tl.load(current + row * size + at, mask=at < tl.where(row >= 0, size, 0), other=0.0)
        x = potential + (came + tl.load(bias + k * tiled + channel))
        limit, low = tl.load(limits + k).to(tl.int32), tl.load(lows + k)
        fire = ((x >= threshold) & (count < limit) & inside).to(tl.int32)
        back = ((x < low * threshold) & (count > 0) & inside).to(tl.int32)
        potential = x - threshold * (fire - back).to(x.dtype)
        count += fire - back
        tl.store(spikes + (k * batch + b) * size + at, (1 + fire - back).to(tl.uint8), mask=inside)
        tl.atomic_add(fired + k * batch + b, tl.sum(fire, 0).to(tl.int64))
        tl.atomic_add(fired + (steps + k) * batch + b, tl.sum(back, 0).to(tl.int64))
    tl.store(v + state, potential, mask=inside)
    tl.store(n + state, count.to(tl.int16), mask=inside)


def scan_triton(
    layer: Layer,
    current: torch.Tensor,
    rows: torch.Tensor,
    bias: torch.Tensor,
    channels: int,
    spikes: torch.Tensor,
    fired: torch.Tensor,
) -> None:
    """`scan` for tensors on a GPU; writes `spikes` and `fired`, which is zero before."""
    steps, batch = rows.shape
    size = layer.v.shape[1]
    arrays = (current, rows.contiguous(), bias.contiguous(), *layer, spikes, fired)
    sizes = (size, channels, bias.shape[1], steps, batch)
    _scan[triton.cdiv(size, BLOCK), batch](*arrays, *sizes, BLOCK=BLOCK)
