"""The functions that an activation can quantise, and their tables of counts, beside the equation itself."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casc_det.errors import ArgumentError
from casc_det.neurons.functions import FUNCTIONS, Entry, counts_of, function_of, table_of

names = st.sampled_from([*FUNCTIONS, "leaky_relu(0.1)", "hardtanh(-2, 3)"])
clips = st.floats(0.05, 40)


def looked_up(table, z):
    return table.counts[torch.searchsorted(table.thresholds, z, right=True)]


@given(names, clips, st.integers(1, 64))
def test_a_table_is_the_equation_of_the_activation(name, clip, levels):
    """n = clip(floor(f(z)/delta + 1/2), n_min, Q), at random z and beside each threshold."""
    delta, table = clip / levels, table_of(name, clip, levels)
    z = torch.cat(
        [torch.randn(2000, dtype=torch.float64) * 3 * levels, table.thresholds + 1e-6, table.thresholds - 1e-6]
    )
    exact = FUNCTIONS[name.partition("(")[0]].compute(z * delta, *function_of(name).numbers) / delta
    wanted = (exact + 0.5).floor().clamp(-levels, levels)
    sure = ((exact + 0.5) - (exact + 0.5).round()).abs() > 1e-7  # not on a rounding boundary
    assert torch.equal(looked_up(table, z)[sure], wanted.long()[sure])
    assert torch.equal(counts_of(function_of(name), z * delta, clip, levels).long()[sure], wanted.long()[sure])
    assert (table.thresholds.diff() >= 0).all() and (table.counts.diff().abs() == 1).all()


def test_least_counts_are_those_of_the_design():
    """n_min of SiLU: -1 at Q = 16, -1 or -2 at 32, about -3 at 64 (clip 5); none below 0 for ReLU."""
    assert [int(table_of("silu", 5.0, levels).counts.min()) for levels in (16, 32, 64)] == [-1, -2, -4]
    assert int(table_of("relu", 5.0, 16).counts.min()) == 0 and int(table_of("identity", 5.0, 16).counts.min()) == -16


def test_equal_steps_are_the_table_of_relu():
    table = table_of("relu", 3.0, 8)
    assert torch.equal(table.thresholds, torch.arange(8) + 0.5) and table.counts.tolist() == list(range(9))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_fall_to_their_turn_and_rise_from_there(name):
    function = function_of(name)
    turn = function.entry.turn
    z = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    steps = function(z).diff()
    assert (steps[z[1:] <= turn] <= 1e-15).all() and (steps[z[:-1] >= turn] >= -1e-15).all()
    if math.isfinite(turn):
        x = torch.tensor(turn, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.grad(function(x), x)[0].abs() < 1e-9 or name == "hardswish"


def test_a_function_is_one_entry(monkeypatch):
    monkeypatch.setitem(FUNCTIONS, "squared_relu", Entry(lambda z: z.relu().square()))
    table = table_of("squared_relu", 2.0, 4)
    assert table.counts.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(
        table.thresholds * 0.5, torch.tensor([0.25, 0.75, 1.25, 1.75], dtype=torch.float64).sqrt()
    )


@pytest.mark.parametrize(
    "text", ["softmax", "silu(2)", "leaky_relu()x", "leaky_relu(a)", "leaky_relu(nan)", "hardtanh(1)", "", 3]
)
def test_what_is_none_is_refused_and_the_known_ones_are_named(text):
    with pytest.raises(ArgumentError, match="^activation: [^\n]*$"):
        function_of(text)
    with pytest.raises(ArgumentError, match="known are relu, silu"):
        function_of("softmax")
