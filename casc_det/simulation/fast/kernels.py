"""The inner loops of the fast engine: scans over time of a layer of neurons, weighing of spikes, pooling of counts.

Spikes are stored as uint8 with a zero point: -1, 0, 1 are 0, 1, 2 at zero point 1. Feature maps lie channels last, so
that one picture of a layer is one line of values. With numba they are compiled; on a GPU the scan is a Triton kernel;
else the torch versions run. All give the same numbers.
"""

import importlib.util
import sys
from contextlib import nullcontext
from functools import cache, partial
from threading import Lock

import numpy as np
import torch

from casc_det.base.caches import temporary_folder
from casc_det.neurons import NeuronParams, NeuronState, neuron_step

try:
    import numba
    from numba.core import event
except ImportError:  # plain torch
    numba = None

PARTS = 4  # of the output rows, that `events` works on in parallel
BLOCK = 2048  # neurons whose state stays in the cache while time goes on
NO_LIMIT = 32767
CALLED = 2  # functions that are compiled for a loop, itself included, and kept one by one


def compiled(device: torch.device) -> bool:
    """Whether the loops are compiled for tensors of this device."""
    return numba is not None and device.type == "cpu"


def follow_threads() -> None:
    """Let the compiled loops use as many threads as torch, and torch keep its number, which numba's start changes."""
    if numba is not None:
        threads = torch.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(threads)


@cache
def one_at_a_time():
    """A lock for the compiled loops where two Python threads may not be in one at a time, else nothing.

    Numba's threading layer "workqueue", which it takes where it finds neither OpenMP nor TBB, ends the process then.
    """
    threads = torch.get_num_threads()
    numba.get_num_threads()  # starts the layer
    torch.set_num_threads(threads)
    return nullcontext() if numba.threading_layer() in ("omp", "tbb") else Lock()


@cache
def say_compiling() -> None:
    """From now on say on stderr, once, that loops of this module are compiled, which is silent and takes its time."""
    said = []

    def begins(started) -> None:
        if not said and started.data["dispatcher"].py_func.__module__ == __name__:
            said.append(True)
            print("note: compiling the loops of the fast engine, once; this can take a minute", file=sys.stderr)

    class Listener(event.Listener):
        on_start, on_end = staticmethod(begins), staticmethod(lambda ended: None)

    event.register("numba:compile", Listener())


def run_loop(loop, *arguments) -> None:
    """Call a compiled loop."""
    say_compiling()
    with one_at_a_time():
        for _ in range(CALLED):
            try:
                return loop(*arguments)
            except OSError:  # it is compiled, but could not be kept: the disk is full; the loop has not begun
                continue
        loop(*arguments)


def tile(values: torch.Tensor) -> torch.Tensor:
    """Values per channel (..., C), repeated along the last dimension to the length of a block."""
    return values.repeat(*[1] * (values.ndim - 1), max(1, BLOCK // values.shape[-1]))


def scan(current, rows, bias, theta, v, n, pictures, limits, lows, spikes, fired, channels: int) -> None:
    """Neurons of one layer over K steps of B pictures; N = H*W*C values a picture, channels last.

    Args:
        current: (R, N) input currents. rows: (K, B) int64, row of each step and picture, -1 for none.
        bias: (K, C), added at each step, and theta: (C,), both as `tile` makes them.
        v, n: (all pictures, N) potentials and int16 counts, updated. pictures: (B,) int64, their rows.
        limits: (K,) int16, the largest count in each step. lows: (K,), `NeuronParams.low` in each step.
        spikes: (K, B, N) uint8, written at zero point 1. fired: (2, K, B) int64 zeros, written: sent, taken back.
    """
    arguments = (current, rows, bias, theta, v, n, pictures, limits, lows, spikes, fired)
    if compiled(v.device):
        run_loop(_scan, *(x.numpy() for x in arguments))
    elif v.device.type == "cuda" and has_triton():
        from casc_det.simulation.fast.cuda import scan_triton

        scan_triton(*arguments, channels)
    else:
        scan_torch(*arguments, channels)


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def events(spikes, zero, some, weight, geometry, hot, theta, v, n, pictures, limits, lows, sent, fired) -> None:
    """Convolution and neurons in one, spike by spike, for steps without bias, where there are `compiled` loops.

    Costs what the spikes cost. The rule must stay the same from the step before the first one to the last one: then a
    position of which no neuron fired in the step before and that no spike reaches does not change, and is left out.

    Args:
        spikes: (K, B, H, W, C) uint8 at zero point `zero`, C a multiple of 8. some: (K, B) bool, steps with spikes.
        weight: (C, rows, columns * O), columns from last to first. geometry: stride, padding, dilation (rows, columns).
        hot: (all pictures, H'*W') uint8, positions of which a neuron fired last; updated.
        sent: (K, B, H', W', O) uint8, filled with 1 (no spike at zero point 1); spikes are written.
        theta, v, n, pictures, limits, lows, fired: see `scan`.
    """
    arrays = [x.numpy() for x in (some, weight, hot, theta, v, n, pictures, sent, fired)]
    words = spikes.numpy().view(np.uint64)
    pattern = np.uint64(int.from_bytes(bytes([zero] * 8), "little"))
    rules = (limits.numpy()[0], lows.numpy()[0])
    run_loop(_events, spikes.numpy(), words, pattern, zero, np.array(geometry), *rules, *arrays)


def weigh(spikes: torch.Tensor, zero: int, fan: torch.Tensor) -> torch.Tensor:
    """(R,) int64: sum over positions and channels of |spike| * fan. spikes: (R, P, C) uint8; fan: (P,) int64."""
    if compiled(spikes.device):
        out = torch.empty(len(spikes), dtype=torch.int64)
        run_loop(_weigh, spikes.numpy(), np.int32(zero), fan.numpy(), out.numpy())
        return out
    return weigh_torch(spikes, zero, fan)


def count_gaps(spikes, zero, start, wanted, scale, out) -> None:
    """How the running counts of a layer compare with wanted ones, after each of K steps.

    Args:
        spikes: (K, B, N) uint8 at zero point `zero`. start: (B, N) int16, counts before the first step.
        wanted: (B, N) int16. scale: (K, 2) int64: the count times `scale[k, 0]` is held against wanted times
            `scale[k, 1]`.
        out: (K, B, 3) int64 zeros, written: neurons with more, neurons with fewer, sum of the differences' magnitudes.
    """
    if compiled(spikes.device):
        run_loop(_count_gaps, *(x.numpy() for x in (spikes, start, wanted, scale, out)), np.int16(zero))
        return
    counts = start.long()
    for k in range(len(spikes)):
        counts = counts + spikes[k].long() - zero
        gap = counts * scale[k, 0] - wanted.long() * scale[k, 1]
        out[k] = torch.stack([(gap > 0).sum(1), (gap < 0).sum(1), gap.abs().sum(1)], 1)


def pool(spikes, zero, counts, before, pictures, geometry, out) -> None:
    """Max pool of spike trains, maxpool(count at t) - maxpool(count at t-1), where there are `compiled` loops.

    Args:
        spikes: (K, B, H, W, C) uint8 at zero point `zero`.
        counts: (all pictures, H, W, C) int16 and before: (all pictures, H', W', C) int16, both updated.
        pictures: (B,) int64, their rows.
        geometry: kernel, stride, padding, dilation (rows, columns each).
        out: (K, B, H', W', C) uint8, written at zero point `zero`.
    """
    arrays = [x.numpy() for x in (spikes, counts, before, pictures, out)]
    run_loop(_pool, *arrays, np.int16(zero), np.array(geometry))


def scan_torch(current, rows, bias, theta, v, n, pictures, limits, lows, spikes, fired, channels: int) -> None:
    """`scan` step by step with the neurons' own function."""
    split = lambda x: x.view(len(pictures), -1, channels)
    state = NeuronState(split(v[pictures]), split(n[pictures]).to(v.dtype))
    for k in range(len(rows)):
        some = (rows[k] >= 0)[:, None]
        x = torch.where(some, current[rows[k].clamp(min=0)], 0) if len(current) else torch.zeros_like(v[pictures])
        params = NeuronParams(theta[:channels], int(limits[k]), low=float(lows[k]))
        sent, state = neuron_step(split(x) + bias[k, :channels], state, params)
        spikes[k] = (sent + 1).flatten(1).to(torch.uint8)
        fired[0, k], fired[1, k] = (sent > 0).sum((1, 2)), (sent < 0).sum((1, 2))
    v[pictures], n[pictures] = state.v.flatten(1), state.n.flatten(1).to(n.dtype)


def weigh_torch(spikes: torch.Tensor, zero: int, fan: torch.Tensor) -> torch.Tensor:
    return ((spikes.to(torch.int16) - zero).abs().sum(2) * fan).sum(1)


def compile_cached(function, **options):
    """`numba.njit` that keeps the compiled code where it can: beside the source or in the user's cache folder (as numba
    does), else in the temporary folder, else nowhere."""
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # numba: no locator available
        given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, temporary_folder("numba") or ""
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, **options)
    finally:
        numba.config.CACHE_DIR = given


if numba:
    compile_loop = partial(compile_cached, parallel=True)

    @compile_cached
    def _fires(potential, count, theta, limit, low):
        """Whether a neuron sends a spike and whether it takes one back (`casc_det.neurons`), as 0 or 1."""
        sends = np.int32((potential >= theta) & (count < limit))
        return sends, np.int32((potential < low * theta) & (count > 0))

    @compile_loop
    def _scan(current, rows, bias, theta, v, n, pictures, limits, lows, spikes, fired):
        steps, batch = rows.shape
        size, length = v.shape[1], len(theta)
        blocks = (size + length - 1) // length
        up = np.zeros((batch * blocks, steps), np.int32)
        down = np.zeros((batch * blocks, steps), np.int32)
        biased = np.array([add.any() for add in bias])
        for task in numba.prange(batch * blocks):
            b, start = task // blocks, task % blocks * length
            stop = min(start + length, size)
            pv, pn = v[pictures[b], start:stop], n[pictures[b], start:stop]
            plus, minus = np.int32(0), np.int32(0)
            for k in range(steps):
                out, add, row = spikes[k, b, start:stop], bias[k], rows[k, b]
                limit, low = limits[k], lows[k]
                same = k > 0 and limit == limits[k - 1] and low == lows[k - 1]
                if same and plus + minus == 0 and not biased[k] and (row < 0 or not current[row, start:stop].any()):
                    out[:] = 1  # no spike in the last step and no input since: none now
                    continue
                plus, minus = np.int32(0), np.int32(0)
                if row >= 0:
                    cur = current[row, start:stop]
                    for j in range(stop - start):
                        x = pv[j] + (cur[j] + add[j])
                        fire, back = _fires(x, pn[j], theta[j], limit, low)
                        s = fire - back
                        plus += fire
                        minus += back
                        pv[j] = x - theta[j] * v.dtype.type(s)
                        pn[j] += np.int16(s)
                        out[j] = np.uint8(1 + s)
                else:
                    for j in range(stop - start):
                        x = pv[j] + add[j]
                        fire, back = _fires(x, pn[j], theta[j], limit, low)
                        s = fire - back
                        plus += fire
                        minus += back
                        pv[j] = x - theta[j] * v.dtype.type(s)
                        pn[j] += np.int16(s)
                        out[j] = np.uint8(1 + s)
                up[task, k], down[task, k] = plus, minus
        for task in range(batch * blocks):
            for k in range(steps):
                fired[0, k, task // blocks] += up[task, k]
                fired[1, k, task // blocks] += down[task, k]

    @compile_loop
    def _weigh(spikes, zero, fan, out):
        rows, positions, channels = spikes.shape
        for r in numba.prange(rows):
            total = np.int64(0)
            for p in range(positions):
                line, some = spikes[r, p], np.int32(0)
                for c in range(channels):
                    some += abs(np.int32(line[c]) - zero)
                total += some * fan[p]
            out[r] = total

    @compile_loop
    def _count_gaps(spikes, start, wanted, scale, out, zero):
        steps, batch, size = spikes.shape
        blocks = (size + BLOCK - 1) // BLOCK
        parts = np.zeros((batch * blocks, steps, 3), np.int64)
        for task in numba.prange(batch * blocks):
            b, first = task // blocks, task % blocks * BLOCK
            last = min(first + BLOCK, size)
            count, goal = start[b, first:last].copy(), wanted[b, first:last]
            for k in range(steps):
                sent, times, of = spikes[k, b, first:last], np.int32(scale[k, 0]), np.int32(scale[k, 1])
                more, fewer, total = np.int32(0), np.int32(0), np.int32(0)
                for j in range(last - first):
                    count[j] += np.int16(sent[j]) - zero
                    gap = np.int32(count[j]) * times - np.int32(goal[j]) * of
                    more += np.int32(gap > 0)
                    fewer += np.int32(gap < 0)
                    total += abs(gap)
                parts[task, k, 0], parts[task, k, 1], parts[task, k, 2] = more, fewer, total
        for task in range(batch * blocks):
            for k in range(steps):
                for i in range(3):
                    out[k, task // blocks, i] += parts[task, k, i]

    @compile_loop
    def _pool(spikes, counts, before, pictures, out, zero, geometry):
        steps, batch, height, width, channels = spikes.shape
        rows, columns = out.shape[2:4]
        part = min(channels, 64)
        parts = (channels + part - 1) // part
        for task in numba.prange(batch * parts):
            b, first = task // parts, task % parts * part
            last = min(first + part, channels)
            p = pictures[b]
            best = np.empty(last - first, np.int16)
            for k in range(steps):
                for y in range(height):
                    for x in range(width):
                        sent, count = spikes[k, b, y, x, first:last], counts[p, y, x, first:last]
                        for c in range(last - first):
                            count[c] += np.int16(sent[c]) - zero
                for y in range(rows):
                    for x in range(columns):
                        best[:] = np.int16(-32768)
                        for i in range(geometry[0, 0]):
                            v = y * geometry[1, 0] - geometry[2, 0] + i * geometry[3, 0]
                            if v < 0 or v >= height:
                                continue
                            for j in range(geometry[0, 1]):
                                u = x * geometry[1, 1] - geometry[2, 1] + j * geometry[3, 1]
                                if u < 0 or u >= width:
                                    continue
                                count = counts[p, v, u, first:last]
                                for c in range(last - first):
                                    best[c] = max(best[c], count[c])
                        result, old = out[k, b, y, x, first:last], before[p, y, x, first:last]
                        for c in range(last - first):
                            result[c] = np.uint8(best[c] - old[c] + zero)
                            old[c] = best[c]

    @compile_loop
    def _events(
        spikes, words, pattern, zero, geometry, limit, low, some, weight, hot, theta, v, n, pictures, sent, fired
    ):
        steps, batch, height, width, channels = spikes.shape
        rows, columns, size = sent.shape[2:]
        kernel, across = weight.shape[1], weight.shape[2] // size
        (down, right), (top, left), (apart, aside) = geometry
        part = (rows + PARTS - 1) // PARTS
        up = np.zeros((batch * PARTS, steps), np.int64)
        back = np.zeros((batch * PARTS, steps), np.int64)
        for task in numba.prange(batch * PARTS):
            b, start = task // PARTS, task % PARTS * part
            stop = min(start + part, rows)
            p, mark = pictures[b], hot[pictures[b]]
            first = max(start * down - top, 0)
            last = min((stop - 1) * down - top + (kernel - 1) * apart + 1, height)
            for k in range(steps if stop > start else 0):
                for y in range(first, last if some[k, b] else 0):
                    for x in range(width):
                        for word in range(channels // 8):
                            if words[k, b, y, x, word] == pattern:
                                continue
                            for c in range(word * 8, word * 8 + 8):
                                s = np.int64(spikes[k, b, y, x, c]) - zero
                                if s == 0:
                                    continue
                                value = v.dtype.type(s)
                                for i in range(kernel):
                                    row = y + top - i * apart
                                    if row % down or row < start * down or row >= stop * down:
                                        continue
                                    row = row // down * columns
                                    if right == 1 and aside == 1:  # its targets lie together
                                        to = x + left - (across - 1)
                                        begin, end = max(-to, 0), min(across, columns - to)
                                        if end <= begin:
                                            continue
                                        mark[row + to + begin : row + to + end] = 1
                                        add = weight[c, i, begin * size : end * size]
                                        target = v[p, (row + to + begin) * size : (row + to + end) * size]
                                        for o in range((end - begin) * size):
                                            target[o] += add[o] * value
                                        continue
                                    for j in range(across):
                                        to = x + left - (across - 1 - j) * aside
                                        if to < 0 or to % right or to // right >= columns:
                                            continue
                                        place = row + to // right
                                        mark[place] = 1
                                        add = weight[c, i, j * size : (j + 1) * size]
                                        target = v[p, place * size : (place + 1) * size]
                                        for o in range(size):
                                            target[o] += add[o] * value
                plus, minus = np.int64(0), np.int64(0)
                for place in range(start * columns, stop * columns):
                    if not mark[place]:
                        continue
                    pv = v[p, place * size : (place + 1) * size]
                    pn = n[p, place * size : (place + 1) * size]
                    out = sent[k, b, place // columns, place % columns]
                    more, less = np.int32(0), np.int32(0)
                    for o in range(size):
                        fires, takes = _fires(pv[o], pn[o], theta[o], limit, low)
                        more += fires
                        less += takes
                        pv[o] -= theta[o] * v.dtype.type(fires - takes)
                        pn[o] += np.int16(fires - takes)
                        out[o] = np.uint8(1 + fires - takes)
                    mark[place] = more + less > 0
                    plus += more
                    minus += less
                up[task, k], back[task, k] = plus, minus
        for task in range(batch * PARTS):
            for k in range(steps):
                fired[0, k, task // PARTS] += up[task, k]
                fired[1, k, task // PARTS] += back[task, k]
