"""The compiled loops that count what was sent, and max pools of counts; types are numba's to find."""
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np

from casc_det.simulation.fast.compiling import compile_loop, compile_part, inlined, prange

BLOCK = 2048  # neurons whose counts stay in the cache while time goes on


@compile_loop
def weigh_loop(spikes, lines, zero, synapses, sops, peaks):
    """The compiled form of `weigh`; lines: the spikes as (R, P*C)."""
    rows, positions, channels = spikes.shape
    for r in prange(rows):
        total, lowest, highest = np.int64(0), np.uint8(zero), np.uint8(zero)
        for p in range(positions):
            line, some = spikes[r, p], np.int32(0)
            for c in range(channels):
                some += abs(np.int32(line[c]) - zero)
            total += some * synapses[p]
        for i in range(lines.shape[1]):
            lowest, highest = min(lowest, lines[r, i]), max(highest, lines[r, i])
        sops[r], peaks[r] = total, max(np.int32(highest) - zero, zero - np.int32(lowest))


@compile_loop
def gaps_loop(spikes, start, wanted, scale, out, zero):
    """The compiled form of `count_gaps`."""
    steps, batch, size = spikes.shape
    blocks = (size + BLOCK - 1) // BLOCK
    parts = np.zeros((batch * blocks, steps, 3), np.int64)
    for task in prange(batch * blocks):
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
        out[:, task // blocks] += parts[task]


@compile_loop
def pool_loop(spikes, counts, before, images, out, zero, geometry):
    """`pool`: each task has some channels of one image."""
    steps, batch, _, _, channels = spikes.shape
    part = min(channels, 64)
    parts = (channels + part - 1) // part
    for task in prange(batch * parts):
        b, first = task // parts, task % parts * part
        last = min(first + part, channels)
        count, old = counts[images[b]], before[images[b]]
        for k in range(steps):
            _add_up(spikes[k, b], zero, count, first, last)
            _send_highest(count, old, out[k, b], zero, geometry, first, last)


@compile_part
def _add_up(spikes, zero, counts, first, last):
    """Add the spikes of one step to the counts of channels first..last."""
    for y in range(spikes.shape[0]):
        for x in range(spikes.shape[1]):
            sent, count = spikes[y, x, first:last], counts[y, x, first:last]
            for c in range(last - first):
                count[c] += np.int16(sent[c]) - zero


@compile_part
def _send_highest(counts, before, out, zero, geometry, first, last):
    """Send how the largest count of each window moved, channels first..last; kept in `before`."""
    (rows, columns), (down, right), (top, left), (apart, aside) = geometry
    windows = (rows, columns, down, right, top, left, apart, aside)
    best = np.empty(last - first, np.int16)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            _highest(counts, y, x, windows, first, last, best)
            result, old = out[y, x, first:last], before[y, x, first:last]
            for c in range(last - first):
                result[c] = np.uint8(best[c] - old[c] + zero)
                old[c] = best[c]


@inlined
def _highest(counts, y, x, windows, first, last, best):
    """Write the largest count of window (y, x) of each of the channels first..last to `best`."""
    rows, columns, down, right, top, left, apart, aside = windows
    best[:] = np.int16(-32768)
    for v in range(y * down - top, y * down - top + rows * apart, apart):
        for u in range(x * right - left, x * right - left + columns * aside, aside):
            if 0 <= v < counts.shape[0] and 0 <= u < counts.shape[1]:
                count = counts[v, u, first:last]
                for c in range(last - first):
                    best[c] = max(best[c], count[c])
