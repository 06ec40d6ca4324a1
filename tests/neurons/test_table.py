"""The rule in its general form: tables of thresholds, bursts, negative counts. Values are dyadic: sums are exact."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casc_det.errors import ArgumentError
from casc_det.neurons.rule import NeuronParams, NeuronState, Table, initial_state, neuron_step

CHANNELS = 3
eighths = st.integers(-40, 40).map(lambda i: i / 8)
inputs = st.lists(st.lists(eighths, min_size=CHANNELS, max_size=CHANNELS), max_size=20)
bursts = st.integers(1, 6)


def run(currents, params, step=neuron_step) -> list[tuple[torch.Tensor, NeuronState]]:
    """(s, state) after each input of one neuron a channel, (1, C, 1, 1)."""
    state, result = initial_state(torch.zeros(1, CHANNELS, 1, 1, dtype=torch.float64), params), []
    for current in currents:
        s, state = step(torch.tensor(current, dtype=torch.float64).view(1, CHANNELS, 1, 1), state, params)
        result.append((s, state))
    return result


def equal_steps(theta: float, n_min: int, levels: int) -> Table:
    """The table of floor((V + theta/2) / theta) within n_min..levels."""
    thresholds = torch.arange(n_min + 1, levels + 1, dtype=torch.float64) * theta - theta / 2
    counts = torch.arange(n_min, levels + 1, dtype=torch.float64)
    return Table(thresholds.repeat(CHANNELS, 1), counts.repeat(CHANNELS, 1))


@st.composite
def tables(draw) -> tuple[NeuronParams, list]:
    """Any table with counts within n_min..Q, rising and falling, other ones in each channel; and its rows as lists."""
    n_min, levels, size = draw(st.integers(-3, 0)), draw(st.integers(1, 9)), draw(st.integers(1, 8))
    rows = []
    for _ in range(CHANNELS):
        used = draw(st.integers(0, size))
        thresholds = sorted(draw(st.lists(eighths, min_size=used, max_size=used)))
        counts = draw(st.lists(st.integers(n_min, levels), min_size=used + 1, max_size=used + 1))
        rows.append((thresholds + [math.inf] * (size - used), counts + counts[-1:] * (size - used)))
    table = Table(*(torch.tensor(part, dtype=torch.float64) for part in zip(*rows, strict=True)))
    return NeuronParams(1.0, levels, None, 0.0, draw(bursts), n_min, table), rows


def wanted(v: float, row: tuple) -> int:
    """The count of a potential, looked up one threshold after the other."""
    thresholds, counts = row
    return counts[sum(v >= threshold for threshold in thresholds)]


@given(
    inputs, st.sampled_from([0.5, 1.0, 2.0]), st.integers(-3, 0), st.integers(1, 9), bursts, st.sampled_from([0, 0.25])
)
def test_a_table_of_equal_steps_is_the_rule_of_equal_steps(currents, theta, n_min, levels, gamma, hysteresis):
    steps = NeuronParams(theta, levels, None, -hysteresis, gamma, n_min)
    table = steps._replace(table=equal_steps(theta, n_min, levels))
    for (a, plain), (b, general) in zip(run(currents, steps), run(currents, table), strict=True):
        assert torch.equal(a, b) and torch.equal(plain.n, general.n)
        assert torch.equal(general.v, plain.v - theta / 2 + theta * plain.n)


@given(inputs, st.integers(1, 9))
def test_without_taking_back_a_table_never_sends_less(currents, levels):
    params = NeuronParams(1.0, levels, None, -math.inf, 2, 0, equal_steps(1.0, 0, levels))
    plain = params._replace(table=None)
    for (a, _), (b, _) in zip(run(currents, params), run(currents, plain), strict=True):
        assert torch.equal(a, b) and a.min() >= 0


@given(inputs, tables())
def test_counts_follow_the_potential_within_their_limits_and_bursts(currents, drawn):
    params, rows = drawn
    total, counts = [0.0] * CHANNELS, [0] * CHANNELS
    for current, (s, state) in zip(currents, run(currents, params), strict=True):
        for c in range(CHANNELS):
            total[c] += current[c]
            change = min(max(wanted(total[c], rows[c]) - counts[c], -params.gamma), params.gamma)
            counts[c] += change
            assert (s[0, c].item(), state.n[0, c].item(), state.v[0, c].item()) == (change, counts[c], total[c])
            assert params.n_min <= counts[c] <= params.levels


@given(inputs, tables())
def test_silence_ends_at_the_count_of_the_total_input_and_within_the_bound(currents, drawn):
    params, rows = drawn
    bound = math.ceil((params.levels - params.n_min) / params.gamma)
    s, state = run([*currents, *[[0.0] * CHANNELS] * (bound + 1)], params)[-1]
    total = torch.tensor(currents, dtype=torch.float64).view(-1, CHANNELS).sum(0).tolist()
    assert not s.any() and state.n.flatten().tolist() == [wanted(v, row) for v, row in zip(total, rows, strict=True)]


def test_the_bound_is_reached_and_a_rule_that_resets_breaks_the_law():
    params = NeuronParams(1.0, 9, None, 0.0, 2, 0, equal_steps(1.0, 0, 9))
    first, *silence = [9.0] * CHANNELS, *[[0.0] * CHANNELS] * 4
    counts = [state.n[0, 0].item() for _, state in run([first, *silence], params)]
    assert counts == [2, 4, 6, 8, 9]  # ceil(9 / 2) steps

    def resetting(current, state, params):
        s, new = neuron_step(current, state, params)
        return s, NeuronState(new.v - s, new.n)

    assert run([first, *silence], params, resetting)[-1][1].n[0, 0].item() != 9


@pytest.mark.parametrize(("levels", "gamma"), [(16, 1), (16, 4), (32, 8)])
def test_a_neuron_follows_silu(levels, gamma):
    """CQSiLU, n = clip(floor(silu(V) / delta + 1/2), n_min, Q), which falls before it rises."""
    delta, grid = 4 / levels, torch.arange(-8, 8, 1 / 64, dtype=torch.float64)
    counts = torch.floor(torch.nn.functional.silu(grid) / delta + 0.5).clamp(max=levels)
    at = counts.diff().nonzero().flatten() + 1
    table = Table(grid[at].repeat(CHANNELS, 1), torch.cat([counts[:1], counts[at]]).repeat(CHANNELS, 1))
    n_min = int(counts.min())
    assert n_min < 0 and counts[0] == 0
    params = NeuronParams(delta, levels, None, 0.0, gamma, n_min, table)
    state = initial_state(torch.zeros(1, CHANNELS, len(grid), 1, dtype=torch.float64), params)
    v = grid.repeat(CHANNELS, 1)[None, ..., None]
    for t in range(math.ceil((levels - n_min) / gamma)):
        _, state = neuron_step(v if t == 0 else torch.zeros_like(v), state, params)
    assert torch.equal(state.n[0, 0, :, 0], counts) and torch.equal(state.v, v)


def test_a_negative_burst_takes_back_several_counts():
    (_, up), (s, down) = run([[9.0] * CHANNELS, [-9.0] * CHANNELS], NeuronParams(1.0, 8, gamma=4))
    assert (up.n == 4).all() and (s == -4).all() and (down.n == 0).all()


def test_tables_that_are_none_are_refused():
    for shapes in (((2, 3), (2, 3)), ((3,), (4,))):
        with pytest.raises(ArgumentError, match=r"^counts: expected \(C, K \+ 1\) for thresholds"):
            Table(*map(torch.zeros, shapes))
    with pytest.raises(ArgumentError, match="^thresholds: expected each row in ascending order"):
        Table(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2, 3))
