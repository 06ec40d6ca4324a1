"""The compiled loops of neurons; types are numba's to find."""
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np

from casc_det.simulation.fast.compiling import compile_loop, compile_part, inlined, prange

PARTS = 4  # of the output rows, that `events` works on in parallel
UNSURE = 1 << 12  # from here on a cell has no count, but where to look, see `Tables`
WORD = 16  # neurons that are looked at together for one in such a cell


@inlined
def _fire(v, n, spikes, j, x, theta, limit, low, least):
    """The rule of equal steps and single spikes for neuron `j` with potential `x`, its input included: whether it sends
    and takes back, as 0 or 1.

    `v`, `n` and `spikes`, at zero point 1, are written.
    """
    sends = np.int32((x >= theta) & (n[j] < limit))
    takes = np.int32((x < low * theta) & (n[j] > least))
    s = sends - takes
    v[j] = x - theta * v.dtype.type(s)
    n[j] += np.int16(s)
    spikes[j] = np.uint8(1 + s)
    return sends, takes


@compile_part
def _fire_bursts(v, n, spikes, theta, rule, table, scratch):
    """The rule for neurons that lie together, their input in `v`: unit spikes sent, and taken back, and messages.

    rule: limit, low, gamma, n_min; table: as `_table_of` makes it, of no cells for equal steps; scratch: as `_scratch`
    makes it. `v`, `n` and `spikes`, at zero point gamma, are written.
    """
    limit, low, gamma, least = rule
    tabled, asked, none = len(table[0]) > 0, scratch[0], np.int32(0)
    if tabled:
        _ask_table(v, n, theta, low, table, scratch)
    else:
        _ask_steps(v, n, theta, low, gamma, asked)
    up, down, messages = np.int32(0), np.int32(0), np.int32(0)
    for j in range(len(v)):
        count = np.int32(n[j])
        room = min(max(np.int32(limit - count), none), gamma)
        back = min(max(np.int32(count - least), none), gamma)
        s = max(min(np.int32(asked[j] - count), room), np.int32(-back))
        asked[j] = s
        n[j] = np.int16(count + s)
        spikes[j] = np.uint8(gamma + s)
        up += max(s, none)
        down += max(np.int32(-s), none)
        messages += np.int32(s != 0)
    if not tabled:
        for j in range(len(v)):
            v[j] -= theta[j] * v.dtype.type(asked[j])
    return up, down, messages


@compile_part
def _ask_steps(v, n, theta, low, gamma, asked):
    """Write the counts that the rests `v` of potentials ask for, in equal steps, up to gamma either way from n."""
    for j in range(len(v)):
        asked[j] = n[j]
    for k in range(gamma):
        up, down = v.dtype.type(k + 1), v.dtype.type(low - k)
        some = np.int32(0)
        for j in range(len(v)):
            more, fewer = np.int32(v[j] >= up * theta[j]), np.int32(v[j] < down * theta[j])
            asked[j] += more - fewer
            some += more + fewer
        if some == 0:
            break


@compile_part
def _ask_table(v, n, theta, low, table, scratch):
    """Write the counts that potentials `v` ask for by their table; not more than n: those at `v` - low * theta."""
    asked, lower, shifted = scratch
    _look_up(v, table, asked)
    if low == 0:
        return
    for j in range(len(v)):
        shifted[j] = v[j] - low * theta[j]
    _look_up(shifted[: len(v)], table, lower)
    for j in range(len(v)):
        count = np.int32(n[j])
        asked[j] = asked[j] if asked[j] > count else min(lower[j], count)


@inlined
def _scratch(size, like):
    """Memory for `_fire_bursts` of so many neurons."""
    return np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, like.dtype)


@compile_part
def _look_up(v, table, wanted):
    """Write the counts that potentials ask for: that of their cell, or found among the thresholds in it."""
    cells, offset, scale, thresholds, counts = table
    lowest, highest = v.dtype.type(0), v.dtype.type(len(cells) - 1)
    for j in range(len(v)):
        wanted[j] = np.int32(min(max(v[j] * scale[j] + offset, lowest), highest))
    words = len(v) // WORD * WORD
    for first in range(0, words, WORD):
        largest = np.int32(0)
        for j in range(first, first + WORD):
            count = np.int32(cells[np.uint32(wanted[j])])
            wanted[j] = count
            largest = max(largest, count)
        if largest >= UNSURE:
            _make_sure(v, first, first + WORD, thresholds, counts, wanted)
    for j in range(words, len(v)):
        wanted[j] = cells[np.uint32(wanted[j])]
    _make_sure(v, words, len(v), thresholds, counts, wanted)


@compile_part
def _make_sure(v, first, last, thresholds, counts, wanted):
    """Replace what cells that are unsure say of potentials first..last by the counts that these ask for."""
    for j in range(first, last):
        if wanted[j] >= UNSURE:
            k, c = wanted[j] - UNSURE, j % thresholds.shape[1]
            while k < len(thresholds) and v[j] >= thresholds[k, c]:
                k += 1
            wanted[j] = counts[k]


@inlined
def _table_of(tables, i):
    """One of the tables: its cells, their offset and scale, its thresholds and counts."""
    cells, ends, offsets, scale, thresholds, counts, stops = tables
    first, last = stops[i], stops[i + 1]
    return cells[ends[i] : ends[i + 1]], offsets[i], scale, thresholds[first:last], counts[first + i : last + i + 1]


@compile_loop
def scan_loop(layer, current, rows, bias, spikes, fired):
    """The compiled form of `scan`; layer: `Layer.arrays`."""
    (theta, v, n, images, limits, lows), gamma, least, tables, which = layer
    steps, batch = rows.shape
    size, length = v.shape[1], len(theta)
    blocks = (size + length - 1) // length
    sent = np.zeros((batch * blocks, 3, steps), np.int32)
    biased = np.array([add.any() for add in bias])
    plain = gamma == 1 and not tables[0].size
    for task in prange(batch * blocks):
        b, start = task // blocks, task % blocks * length
        stop = min(start + length, size)
        pv, pn = v[images[b], start:stop], n[images[b], start:stop]
        scratch, count = _scratch(length, v), sent[task]
        for k in range(steps):
            out, add, row = spikes[k, b, start:stop], bias[k], rows[k, b]
            limit, low, table = limits[k], lows[k], which[k]
            same = k > 0 and limit == limits[k - 1] and low == lows[k - 1] and table == which[k - 1]
            if same and count[2, k - 1] == 0 and not biased[k] and (row < 0 or not current[row, start:stop].any()):
                out[:] = gamma  # no spike in the last step and no input since: none now
                continue
            came = current[row, start:stop] if row >= 0 else add[:0]
            if plain:
                up, down = _fire_line(pv, pn, out, came, add, theta, limit, low, least)
                count[0, k], count[1, k], count[2, k] = up, down, up + down
                continue
            _add_input(pv, came, add)
            rule, parts = (np.int32(limit), low, gamma, least), _table_of(tables, table)
            up, down, messages = _fire_bursts(pv, pn, out, theta, rule, parts, scratch)
            count[0, k], count[1, k], count[2, k] = up, down, messages
    for task in range(batch * blocks):
        fired[:, :, task // blocks] += sent[task]


@inlined
def _fire_line(v, n, out, came, add, theta, limit, low, least):
    """`_fire` for neurons that lie together: how many send, and take back; `came` may be empty."""
    up, down = np.int32(0), np.int32(0)
    if len(came):
        for j in range(len(v)):
            sends, takes = _fire(v, n, out, j, v[j] + (came[j] + add[j]), theta[j], limit, low, least)
            up += sends
            down += takes
    else:
        for j in range(len(v)):
            sends, takes = _fire(v, n, out, j, v[j] + add[j], theta[j], limit, low, least)
            up += sends
            down += takes
    return up, down


@inlined
def _add_input(v, came, add):
    """Add the input of one step to potentials; `came` may be empty."""
    if len(came):
        for j in range(len(v)):
            v[j] += came[j] + add[j]
    else:
        for j in range(len(v)):
            v[j] += add[j]


@compile_loop
def events_loop(layer, came, some, weight, geometry, active, sent, fired):
    """The compiled form of `events`: each task has some output rows of one image.

    layer: `Layer.arrays`, the rule of the first step that of all. came: the spikes, the same as words of eight, a word
    without a spike, and the zero point.
    """
    (theta, v, n, images, limits, lows), gamma, least, tables, which = layer
    spikes, words, silent, zero = came
    steps, batch = spikes.shape[:2]
    part = (sent.shape[2] + PARTS - 1) // PARTS
    count = np.zeros((batch * PARTS, 3, steps), np.int64)
    rule, table = (np.int32(limits[0]), lows[0], gamma, least), _table_of(tables, which[0])
    for task in prange(batch * PARTS):
        b, start = task // PARTS, task % PARTS * part
        pv, pn, mark = v[images[b]], n[images[b]], active[images[b]]
        for k in range(steps):
            if some[k, b]:
                _spread(
                    spikes[k, b], words[k, b], silent, zero, weight, geometry, start, part, sent.shape[2:], pv, mark
                )
            up, down, messages = _fire_active(theta, pv, pn, rule, table, mark, sent[k, b], start, part)
            count[task, 0, k], count[task, 1, k], count[task, 2, k] = up, down, messages
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
def _fire_active(theta, v, n, rule, table, active, spikes, start, part):
    """The rule at the marked positions of `part` rows; those where a neuron fires stay marked."""
    rows, columns, size = spikes.shape
    limit, low, gamma, least = rule
    plain = gamma == 1 and not len(table[0])
    scratch = _scratch(size, v)
    up, down, messages = np.int64(0), np.int64(0), np.int64(0)
    for place in range(start * columns, min(start + part, rows) * columns):
        if not active[place]:
            continue
        first, last = place * size, (place + 1) * size
        pv, pn, out = v[first:last], n[first:last], spikes[place // columns, place % columns]
        more, less, some = np.int32(0), np.int32(0), np.int32(0)
        if plain:
            for o in range(size):
                sends, takes = _fire(pv, pn, out, o, pv[o], theta[o], limit, low, least)
                more += sends
                less += takes
            some = more + less
        else:
            more, less, some = _fire_bursts(pv, pn, out, theta[:size], rule, table, scratch)
        active[place] = some > 0
        up += more
        down += less
        messages += some
    return up, down, messages
