"""What counts spikes: by the synapses they pass, beside wanted counts, in the windows of pools.

Spikes are uint8 with a zero point, channels last (`simulation.fast.neurons`).
"""

import numpy as np
import torch

from casc_det.simulation import step
from casc_det.simulation.fast.compiling import compiled, run_loop
from casc_det.simulation.fast.loops import gaps_loop, pool_loop, weigh_loop


def weigh(spikes: torch.Tensor, zero: int, synapses: torch.Tensor) -> torch.Tensor:
    """(R,) int64: sum over positions and channels of |spike| * synapses. spikes: (R, P, C) uint8; synapses: (P,)."""
    if not compiled(spikes.device):
        return ((spikes.to(torch.int16) - zero).abs().sum(2) * synapses).sum(1)
    out = torch.empty(len(spikes), dtype=torch.int64)
    run_loop(weigh_loop, spikes.numpy(), np.int32(zero), synapses.numpy(), out.numpy())
    return out


def count_gaps(
    spikes: torch.Tensor, zero: int, start: torch.Tensor, wanted: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """How the running counts of a layer compare with wanted ones, after each of K steps.

    Args:
        spikes: (K, B, N) uint8 at zero point `zero`. start: (B, N) int16, counts before the first step.
        wanted: (B, N) int16. scale: (K, 2) int64: the count times `scale[k, 0]` is held against wanted times
            `scale[k, 1]`.

    Returns:
        (K, B, 3) int64: neurons with more, neurons with fewer, sum of the differences' magnitudes.
    """
    out = torch.zeros(*spikes.shape[:2], 3, dtype=torch.int64, device=spikes.device)
    if compiled(spikes.device):
        run_loop(gaps_loop, *(x.numpy() for x in (spikes, start, wanted, scale, out)), np.int16(zero))
        return out
    counts = start.long()
    for k in range(len(spikes)):
        counts = counts + spikes[k].long() - zero
        out[k] = step.count_gaps(counts, wanted.long(), (int(scale[k, 0]), int(scale[k, 1])))
    return out


def pool(
    spikes: torch.Tensor,
    zero: int,
    counts: torch.Tensor,
    before: torch.Tensor,
    images: torch.Tensor,
    geometry: tuple[tuple[int, int], ...],
) -> torch.Tensor:
    """Max pool of spikes, maxpool(count at t) - maxpool(count at t-1), where loops are `compiled`.

    Args:
        spikes: (K, B, H, W, C) uint8 at zero point `zero`.
        counts: (all images, H, W, C) int16 and before: (all images, H', W', C) int16, both updated.
        images: (B,) int64, their rows.
        geometry: kernel, stride, padding, dilation (rows, columns each).

    Returns:
        (K, B, H', W', C) uint8 at zero point `zero`.
    """
    out = spikes.new_empty(*spikes.shape[:2], *before.shape[1:])
    arrays = [x.numpy() for x in (spikes, counts, before, images, out)]
    run_loop(pool_loop, *arrays, np.int16(zero), np.array(geometry))
    return out
