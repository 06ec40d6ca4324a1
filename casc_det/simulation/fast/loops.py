"""The compiled loops of the fast engine; types are numba's to find."""
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np

from casc_det.simulation.fast.compiling import compile_loop, compile_part, inlined, prange

BLOCK = 2048  # neurons whose counts stay in the cache while time goes on


@compile_loop
def weigh_loop(spikes, zero, synapses, out):
    """The compiled form of `weigh`."""
    rows, positions, channels = spikes.shape
    for r in prange(rows):
        total = np.int64(0)
        for p in range(positions):
            line, some = spikes[r, p], np.int32(0)
            for c in range(channels):
                some += abs(np.int32(line[c]) - zero)
            total += some * synapses[p]
        out[r] = total


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


PARTS = 4  # of the output rows, that `events` works on in parallel


@inlined
def _fire(v, n, spikes, j, x, theta, limit, low):
    """The rule for neuron `j` with potential `x`, its input included: whether it sends and takes back, as 0 or 1.

    `v`, `n` and `spikes`, at zero point 1, are written.
    """
    sends = np.int32((x >= theta) & (n[j] < limit))
    takes = np.int32((x < low * theta) & (n[j] > 0))
    s = sends - takes
    v[j] = x - theta * v.dtype.type(s)
    n[j] += np.int16(s)
    spikes[j] = np.uint8(1 + s)
    return sends, takes


@compile_loop
def scan_loop(layer, current, rows, bias, spikes, fired):
    """The compiled form of `scan`; layer: the arrays of `Layer`."""
    theta, v, n, images, limits, lows = layer
    steps, batch = rows.shape
    size, length = v.shape[1], len(theta)
    blocks = (size + length - 1) // length
    sent = np.zeros((batch * blocks, 2, steps), np.int32)
    biased = np.array([add.any() for add in bias])
    for task in prange(batch * blocks):
        b, start = task // blocks, task % blocks * length
        stop = min(start + length, size)
        pv, pn = v[images[b], start:stop], n[images[b], start:stop]
        up, down = np.int32(0), np.int32(0)
        for k in range(steps):
            out, add, row = spikes[k, b, start:stop], bias[k], rows[k, b]
            limit, low = limits[k], lows[k]
            same = k > 0 and limit == limits[k - 1] and low == lows[k - 1]
            if same and up + down == 0 and not biased[k] and (row < 0 or not current[row, start:stop].any()):
                out[:] = 1  # no spike in the last step and no input since: none now
                continue
            up, down = np.int32(0), np.int32(0)
            if row >= 0:
                came = current[row, start:stop]
                for j in range(stop - start):
                    sends, takes = _fire(pv, pn, out, j, pv[j] + (came[j] + add[j]), theta[j], limit, low)
                    up += sends
                    down += takes
            else:
                for j in range(stop - start):
                    sends, takes = _fire(pv, pn, out, j, pv[j] + add[j], theta[j], limit, low)
                    up += sends
                    down += takes
            sent[task, 0, k], sent[task, 1, k] = up, down
    for task in range(batch * blocks):
        fired[:, :, task // blocks] += sent[task]


@compile_loop
def events_loop(neurons, came, some, weight, geometry, active, sent, fired):
    """The compiled form of `events`: each task has some output rows of one image.

    neurons: the arrays of `Layer`, limit and low of all steps. came: the spikes, the same as words of eight, a word
    without a spike, and the zero point.
    """
    theta, v, n, images, limit, low = neurons
    spikes, words, silent, zero = came
    steps, batch = spikes.shape[:2]
    part = (sent.shape[2] + PARTS - 1) // PARTS
    count = np.zeros((batch * PARTS, 2, steps), np.int64)
    for task in prange(batch * PARTS):
        b, start = task // PARTS, task % PARTS * part
        pv, pn, mark = v[images[b]], n[images[b]], active[images[b]]
        for k in range(steps):
            if some[k, b]:
                _spread(
                    spikes[k, b], words[k, b], silent, zero, weight, geometry, start, part, sent.shape[2:], pv, mark
                )
            up, down = _fire_active(theta, pv, pn, limit, low, mark, sent[k, b], start, part)
            count[task, 0, k], count[task, 1, k] = up, down
    for task in range(batch * PARTS):
        fired[:, :, task // PARTS] += count[task]


@compile_part
def _spread(spikes, words, silent, zero, weight, geometry, start, part, shape, v, active):
    """Add what the spikes of one step bring to the potentials in `part` output rows, and mark these positions."""
    (down, right), (top, left), (apart, aside) = geometry
    geometry = (down, right, top, left, apart, aside)
    stop = min(start + part, shape[0])
    first = max(start * down - top, 0)
    last = min((stop - 1) * down - top + (weight.shape[1] - 1) * apart + 1, spikes.shape[0])
    for y in range(first, last if stop > start else 0):
        for x in range(spikes.shape[1]):
            for word in range(words.shape[2]):
                if words[y, x, word] == silent:
                    continue
                for c in range(word * 8, word * 8 + 8):
                    s = np.int64(spikes[y, x, c]) - zero
                    if s != 0:
                        _add(v.dtype.type(s), y, x, weight[c], geometry, start, stop, shape, v, active)


@inlined
def _add(value, y, x, weight, geometry, start, stop, shape, v, active):
    """Add one spike's currents, `value` times the weights of its channel, to the potentials that it reaches."""
    down, right, top, left, apart, aside = geometry
    _, columns, size = shape
    across = weight.shape[1] // size
    for i in range(len(weight)):
        row = y + top - i * apart
        if row % down or row < start * down or row >= stop * down:
            continue
        row = row // down * columns
        if right == 1 and aside == 1:  # its targets lie together
            to = x + left - (across - 1)
            begin, end = max(-to, 0), min(across, columns - to)
            if end > begin:
                active[row + to + begin : row + to + end] = 1
                target = v[(row + to + begin) * size : (row + to + end) * size]
                _multiply_add(target, weight[i, begin * size : end * size], value)
            continue
        for j in range(across):
            to = x + left - (across - 1 - j) * aside
            if to >= 0 and not to % right and to // right < columns:
                place = row + to // right
                active[place] = 1
                _multiply_add(v[place * size : (place + 1) * size], weight[i, j * size : (j + 1) * size], value)


@inlined
def _multiply_add(target, weight, value):
    """target += weight * value"""
    for o in range(len(target)):
        target[o] += weight[o] * value


@compile_part
def _fire_active(theta, v, n, limit, low, active, spikes, start, part):
    """The rule at the marked positions of `part` rows; those where a neuron fires stay marked."""
    rows, columns, size = spikes.shape
    up, down = np.int64(0), np.int64(0)
    for place in range(start * columns, min(start + part, rows) * columns):
        if not active[place]:
            continue
        first, last = place * size, (place + 1) * size
        pv, pn, out = v[first:last], n[first:last], spikes[place // columns, place % columns]
        more, less = np.int32(0), np.int32(0)
        for o in range(size):
            sends, takes = _fire(pv, pn, out, o, pv[o], theta[o], limit, low)
            more += sends
            less += takes
        active[place] = more + less > 0
        up += more
        down += less
    return up, down
