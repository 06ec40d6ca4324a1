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
def _wanted(x, thresholds, counts, channels, channel, first, last, table, inside):
    """The counts that potentials ask for: the first, and the change at each of the thresholds first..last reached."""
    wanted = tl.where(inside, tl.load(counts + first + table), 0)
    for i in range(first, last):
        change = tl.load(counts + i + table + 1) - tl.load(counts + i + table)
        wanted += tl.where(x >= tl.load(thresholds + i * channels + channel), change, 0)
    return wanted


@triton.jit
def _scan(
    current, rows, bias, theta, v, n, images, limits, lows, thresholds, counts, stops, which, spikes, fired,
    size, channels, tiled, steps, batch, gamma, least,
    TABLES: tl.constexpr, BLOCK: tl.constexpr,
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
        if TABLES:
            table = tl.load(which + k)
            first, last = tl.load(stops + table), tl.load(stops + table + 1)
            more = _wanted(x, thresholds, counts, channels, channel, first, last, table, inside) - count
            back = x - low * threshold
            fewer = count - _wanted(back, thresholds, counts, channels, channel, first, last, table, inside)
            fewer = tl.where(more > 0, 0, fewer)
        else:
            more, fewer = tl.zeros_like(count), tl.zeros_like(count)
            for i in range(gamma):
                more += (x >= (i + 1) * threshold).to(tl.int32)
                fewer += (x < (low - i) * threshold).to(tl.int32)
        fire = tl.minimum(tl.maximum(tl.minimum(more, gamma), 0), tl.maximum(limit - count, 0))
        back = tl.minimum(tl.maximum(tl.minimum(fewer, gamma), 0), tl.maximum(count - least, 0))
        fire, back = tl.where(inside, fire, 0), tl.where(inside, back, 0)
        sent = fire - back
        potential = x if TABLES else x - threshold * sent.to(x.dtype)
        count += sent
        tl.store(spikes + (k * batch + b) * size + at, (gamma + sent).to(tl.uint8), mask=inside)
        tl.atomic_add(fired + k * batch + b, tl.sum(fire, 0).to(tl.int64))
        tl.atomic_add(fired + (steps + k) * batch + b, tl.sum(back, 0).to(tl.int64))
        tl.atomic_add(fired + (2 * steps + k) * batch + b, tl.sum((sent != 0).to(tl.int32), 0).to(tl.int64))
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
    tabled, tables = layer.which is not None, layer.tables
    which = layer.which if tabled else tables.stops  # not read then
    inputs = (current, rows.contiguous(), bias.contiguous(), *layer[:6])
    arrays = (*inputs, tables.thresholds, tables.counts, tables.stops, which, spikes, fired)
    sizes = (size, channels, bias.shape[1], steps, batch, layer.gamma, layer.n_min)
    _scan[triton.cdiv(size, BLOCK), batch](*arrays, *sizes, TABLES=tabled, BLOCK=BLOCK)
