"""Layers of neurons over many time steps: forms of the one rule, `casc_det.neurons.rule.neuron_step`.

`scan` runs a layer over the steps of a chunk, in its torch form (the rule itself, step by step), its compiled form
(`loops`) or its Triton form (`cuda`). `events` is a compiled form that also adds up what few spikes bring. Tests
hold each of them to the rule. `weigh`, `count_gaps` and `pool` count what was sent.

Spikes are stored as uint8 with a zero point: -1, 0, 1 are 0, 1, 2 at zero point 1; behind neurons it is gamma, the
largest burst. Feature maps lie channels last, so that one image of a layer is one line of values.
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch

from casc_det.neurons.rule import NeuronParams, NeuronState, Table, neuron_step
from casc_det.simulation import step
from casc_det.simulation.fast.compiling import compiled, run_loop
from casc_det.simulation.fast.counting import gaps_loop, pool_loop, weigh_loop
from casc_det.simulation.fast.loops import UNSURE, events_loop, scan_loop

BLOCK = 2048  # neurons whose state stays in the cache while time goes on
CELLS = 128  # of a table, in a threshold theta
MOST_CELLS = 1 << 14  # of a table; the lowest one holds all that is below
NO_LIMIT = 32767


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables of one layer, one behind the other, and a grid in which most potentials find their count at once.

    The cell of a potential is floor(v * scale + offset), which does not fall with v, rounded as it is. So
    a cell that lies between those of two thresholds, in every channel, has one count; the few others say from which
    threshold on to look.

    Attributes:
        cells: int16, a count, or `UNSURE` and the number of thresholds below. ends: (tables + 1,) int64, of each table.
        offsets: (tables,). scale: (C,) as `tile` makes it.
        thresholds: (rows, C). counts: (rows + tables,) int32, of the segments between them, the same in all channels.
        stops: (tables + 1,) int64, of the thresholds of each table.
    """

    cells: torch.Tensor
    ends: torch.Tensor
    offsets: torch.Tensor
    scale: torch.Tensor
    thresholds: torch.Tensor
    counts: torch.Tensor
    stops: torch.Tensor

    @classmethod
    def of(cls, tables: Sequence[Table], theta: torch.Tensor) -> "Tables":
        """Those of a layer with thresholds theta (C,); none, where it has equal steps, are one without cells."""
        scale, integers = CELLS / theta, partial(torch.tensor, device=theta.device)
        counts = [table.counts[0].to(torch.int32) for table in tables]
        grids = [_grid(table.thresholds, count, scale) for table, count in zip(tables, counts, strict=True)]
        if not tables:
            counts, grids = [integers([], dtype=torch.int32)], [(integers([], dtype=torch.int16), theta.new_zeros(()))]
        rows = [table.thresholds.t() for table in tables] or [theta.new_empty(0, len(theta))]
        cells, offsets = zip(*grids, strict=True)
        ends, stops = (integers([0, *accumulate(map(len, parts))]) for parts in (cells, rows))
        grid = (torch.cat(cells), ends, torch.stack(offsets), tile(scale))
        return cls(*grid, torch.cat(rows).contiguous(), torch.cat(counts), stops)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All of them, as the compiled loops take them."""
        return arrays(self.cells, self.ends, self.offsets, self.scale, self.thresholds, self.counts, self.stops)

    def table(self, i: int) -> Table:
        """One of them, as the rule takes it."""
        first, last = int(self.stops[i]), int(self.stops[i + 1])
        thresholds = self.thresholds[first:last].t().contiguous()
        return Table(thresholds, self.counts[first + i : last + i + 1].to(thresholds.dtype).repeat(len(thresholds), 1))


def _grid(thresholds: torch.Tensor, counts: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells and offset of a table with thresholds (C, K) and counts (K + 1,), see `Tables`."""
    at = thresholds * scale[:, None]
    finite = at[at.isfinite()]
    highest, lowest = (finite.max(), finite.min()) if len(finite) else (at.new_zeros(()), at.new_zeros(()))
    offset = (2 - lowest.maximum(highest - MOST_CELLS)).floor()
    size = int(highest + offset) + 3
    cell = lambda v: (v * scale[:, None] + offset).clamp(0, size - 1).long()
    first, last = cell(thresholds).amin(0), cell(thresholds.nextafter(at.new_tensor(-math.inf))).amax(0)
    below = torch.bincount(last + 1, minlength=size)[:size].cumsum(0)  # thresholds that are, in all channels
    reached = torch.bincount(first, minlength=size).cumsum(0)  # that are, or lie in the cell, in some channel
    return torch.where(below == reached, counts[below], UNSURE + below).to(torch.int16), offset


class Layer(NamedTuple):
    """What a form of the neuron rule needs, and what it updates, for K steps of B images; N = H*W*C neurons an image.

    Attributes:
        theta: (C,) thresholds as `tile` makes them.
        v, n: (all images, N) potentials and int16 counts; updated.
        images: (B,) int64, the rows of `v` and `n` that run.
        limits: (K,) int16, the largest count in each step. lows: (K,), `NeuronParams.low` in each step.
        gamma, n_min: as in `NeuronParams`.
        tables: what counts follow. which: (K,) int64, the table of each step; None: equal steps of theta.
    """

    theta: torch.Tensor
    v: torch.Tensor
    n: torch.Tensor
    images: torch.Tensor
    limits: torch.Tensor
    lows: torch.Tensor
    gamma: int
    n_min: int
    tables: Tables
    which: torch.Tensor | None = None

    def params(self, k: int, channels: int) -> NeuronParams:
        """What the rule takes in a step."""
        table = None if self.which is None else self.tables.table(int(self.which[k]))
        theta = self.theta[:channels].view(-1, 1, 1)
        return NeuronParams(theta, int(self.limits[k]), None, float(self.lows[k]), self.gamma, self.n_min, table)

    def arrays(self) -> tuple:
        """What the compiled loops take."""
        which = np.zeros(len(self.limits), np.int64) if self.which is None else self.which.numpy()
        return arrays(*self[:6]), np.int32(self.gamma), np.int32(self.n_min), self.tables.arrays, which


def tile(values: torch.Tensor, length: int = BLOCK) -> torch.Tensor:
    """Values per channel (..., C), repeated along the last dimension to the length of a block."""
    return values.repeat(*[1] * (values.ndim - 1), max(1, length // values.shape[-1]))


def maps(lines: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Lines (B, H*W*C) as maps, a view (B, C, H, W); shape: H, W, C."""
    return lines.view(-1, *shape).permute(0, 3, 1, 2)


def arrays(*tensors: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Tensors on the CPU as arrays in the same memory, for the compiled loops."""
    return tuple(x.numpy() for x in tensors)


def scan(
    layer: Layer, current: torch.Tensor, rows: torch.Tensor, bias: torch.Tensor, channels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The neurons of a layer over K steps.

    Args:
        current: (R, N) input currents. rows: (K, B) int64, row of each step and image, -1 for none.
        bias: (K, C), added at each step, as `tile` makes it.

    Returns:
        Spikes (K, B, N) uint8 at zero point gamma, and (3, K, B) int64: unit spikes sent, taken back, and messages.
    """
    spikes = torch.empty(*rows.shape, layer.v.shape[1], dtype=torch.uint8, device=rows.device)
    fired = torch.zeros(3, *rows.shape, dtype=torch.int64, device=rows.device)
    if compiled(rows.device):
        run_loop(scan_loop, layer.arrays(), *arrays(current, rows, bias, spikes, fired))
    elif rows.device.type == "cuda" and has_triton():
        from casc_det.simulation.fast.cuda import scan_triton

        scan_triton(layer, current, rows, bias, channels, spikes, fired)
    else:
        scan_torch(layer, current, rows, bias, channels, spikes, fired)
    return spikes, fired


def has_triton() -> bool:
    """Whether Triton is installed, which comes with the CUDA builds of torch."""
    return importlib.util.find_spec("triton") is not None


def scan_torch(
    layer: Layer,
    current: torch.Tensor,
    rows: torch.Tensor,
    bias: torch.Tensor,
    channels: int,
    spikes: torch.Tensor,
    fired: torch.Tensor,
) -> None:
    """The torch form of `scan`: the rule itself, step by step; writes `spikes` and `fired`."""
    v, n, images = layer.v, layer.n, layer.images
    split = lambda x: x.view(len(images), -1, channels).transpose(1, 2)[..., None]
    lines = lambda x: x[..., 0].transpose(1, 2).flatten(1)
    state = NeuronState(split(v[images]), split(n[images]).to(v.dtype))
    for k in range(len(rows)):
        some = (rows[k] >= 0)[:, None]
        x = torch.where(some, current[rows[k].clamp(min=0)], 0) if len(current) else torch.zeros_like(v[images])
        sent, state = neuron_step(split(x) + bias[k, :channels].view(-1, 1, 1), state, layer.params(k, channels))
        spikes[k] = (lines(sent) + layer.gamma).to(torch.uint8)
        fired[0, k], fired[1, k] = sent.clamp(min=0).sum((1, 2, 3)), -sent.clamp(max=0).sum((1, 2, 3))
        fired[2, k] = (sent != 0).sum((1, 2, 3))
    v[images], n[images] = lines(state.v), lines(state.n).to(n.dtype)


def events(
    layer: Layer,
    spikes: torch.Tensor,
    zero: int,
    some: torch.Tensor,
    weight: torch.Tensor,
    geometry: tuple[tuple[int, int], ...],
    active: torch.Tensor,
    shape: tuple[int, int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convolution and neurons in one, spike by spike, for steps without bias, where loops are `compiled`.

    Costs what the spikes cost. The rule must stay the same from the step before the first one to the last one: then a
    position of which no neuron fired in the step before and that no spike reaches does not change, and is left out.

    Args:
        spikes: (K, B, H, W, C) uint8 at zero point `zero`, C a multiple of 8. some: (K, B) bool, steps with spikes.
        weight: (C, rows, columns * O), columns from last to first. geometry: stride, padding, dilation (rows, columns).
        active: (all images, H'*W') uint8, positions of which a neuron fired last; updated.
        shape: H', W', O of the neurons.

    Returns:
        Spikes (K, B, H', W', O) and how many, as those of `scan`.
    """
    sent = torch.full((*some.shape, *shape), layer.gamma, dtype=torch.uint8)
    fired = torch.zeros(3, *some.shape, dtype=torch.int64)
    silent = np.uint64(int.from_bytes(bytes([zero] * 8), "little"))
    came = (spikes.numpy(), spikes.numpy().view(np.uint64), silent, zero)
    run_loop(events_loop, layer.arrays(), came, *arrays(some, weight), np.array(geometry), *arrays(active, sent, fired))
    return sent, fired


def weigh(spikes: torch.Tensor, zero: int, synapses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(R,) int64: sum over positions and channels of |spike| * synapses, and (R,) float64: the largest |spike|.

    spikes: (R, P, C) uint8 at zero point `zero`; synapses: (P,).
    """
    if not compiled(spikes.device):
        sizes = (spikes.to(torch.int16) - zero).abs()
        return (sizes.sum(2) * synapses).sum(1), sizes.amax((1, 2)).double()
    sops, peaks = torch.empty(len(spikes), dtype=torch.int64), torch.empty(len(spikes), dtype=torch.float64)
    run_loop(weigh_loop, *arrays(spikes, spikes.flatten(1)), np.int32(zero), *arrays(synapses, sops, peaks))
    return sops, peaks


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
