"""Laws of the neurons. All values are multiples of 1/8, so that float64 arithmetic is exact."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casc_det.neurons import NEURONS, cif_step, if_step
from casc_det.neurons.rule import NeuronParams, NeuronState, initial_state, neuron_step

eighths = st.integers(-40, 40).map(lambda i: i / 8)
currents = st.lists(eighths, max_size=24)
floats = st.lists(st.floats(-4, 4, allow_subnormal=False), max_size=24)
parameters = st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.integers(1, 16)).map(lambda x: NeuronParams(*x))


def run(step, inputs, params, state=None):
    """(spikes, states) after each input, for one neuron."""
    state = state or initial_state(torch.zeros(1, dtype=torch.float64), params)
    spikes, states = [], []
    for current in inputs:
        spike, state = step(torch.tensor([current], dtype=torch.float64), state, params)
        spikes.append(spike.item())
        states.append(state)
    return spikes, states


def final_count(inputs, params) -> int:
    """What CQReLU gives for the summed input."""
    return min(max(math.floor(sum(inputs) / params.theta + 0.5), 0), params.levels)


def settles(step, inputs, params) -> bool:
    """Whether the neuron holds CQReLU's count after Q silent steps and keeps it."""
    spikes, states = run(step, [*inputs, *[0.0] * (params.levels + 5)], params)
    return states[-1].n.item() == final_count(inputs, params) and not any(spikes[-5:])


@pytest.mark.parametrize("step", NEURONS.values(), ids=NEURONS)
@given(currents, parameters)
def test_potential_is_start_plus_inputs_minus_theta_times_counts(step, inputs, params):
    spikes, states = run(step, inputs, params)
    for t, state in enumerate(states, 1):
        assert state.n.item() == sum(spikes[:t])
        assert state.v.item() == params.theta / 2 + sum(inputs[:t]) - params.theta * state.n.item()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(floats, st.floats(0.1, 2), st.sampled_from([1, 4, 16, None]), st.sampled_from([0.0, -0.3, -1.0, -math.inf]))
def test_the_rule_is_the_neuron_of_the_paper_bit_for_bit(dtype, inputs, theta, levels, low):
    """Written as a plain loop over numbers of one dtype; sums are rounded, so that any other order would show."""
    theta = dtype(theta)
    params = NeuronParams(torch.tensor(theta), levels, low=low)
    state, v, n = initial_state(torch.zeros(1, dtype=torch.tensor(theta).dtype), params), theta / dtype(2), 0
    for current in map(dtype, inputs):
        v = v + current
        s = 1 if v >= theta and (levels is None or n < levels) else -1 if v < dtype(low) * theta and n > 0 else 0
        v, n = v - theta * dtype(s), n + s
        spikes, state = neuron_step(torch.tensor([current]), state, params)
        assert (spikes.item(), state.v.item(), state.n.item()) == (s, v, n)


@given(currents, parameters)
def test_cif_count_stays_within_0_and_levels(inputs, params):
    spikes, states = run(cif_step, inputs, params)
    assert set(spikes) <= {-1.0, 0.0, 1.0}
    assert all(0 <= state.n.item() <= params.levels for state in states)


@given(currents, parameters)
def test_if_never_takes_back(inputs, params):
    spikes, _ = run(if_step, inputs, params)
    assert set(spikes) <= {0.0, 1.0}


@given(currents, parameters)
def test_cif_settles_at_cqrelu_within_levels_silent_steps(inputs, params):
    assert settles(cif_step, inputs, params)


@given(currents, currents, parameters)
def test_cif_result_depends_on_the_total_input_only(inputs, others, params):
    rest = sum(others) - sum(inputs)
    state = run(cif_step, [*inputs, rest, *[0.0] * params.levels], params)[1][-1]
    assert state.n.item() == final_count(others, params)


def test_settling_fails_for_wrong_rules():
    """The law above can fail: each of these differs from CIF in one thing."""
    params, overshoot = NeuronParams(1.0, 4), [1.0, 1.0, -1.0]

    def half_missing(current, state, params):
        first = state.n.item() == 0 and state.v.item() == params.theta / 2
        return cif_step(current - params.theta / 2 if first else current, state, params)

    def no_ceiling(current, state, params):
        return cif_step(current, state, params._replace(levels=None))

    def reset_to_zero(current, state, params):
        spikes, new = cif_step(current, state, params)
        return spikes, NeuronState(torch.where(spikes > 0, 0.0, new.v), new.n)

    assert settles(cif_step, overshoot, params) and not settles(if_step, overshoot, params)
    assert settles(cif_step, [0.5], params) and not settles(half_missing, [0.5], params)
    assert settles(cif_step, [9.0], params) and not settles(no_ceiling, [9.0], params)
    assert settles(cif_step, [3.0], params) and not settles(reset_to_zero, [3.0], params)


def test_early_overshoot_is_kept_by_if_and_taken_back_by_cif():
    params = NeuronParams(1.0, 4)
    assert run(if_step, [1.0, -1.0, 0.0], params)[0] == [1.0, 0.0, 0.0]
    assert run(cif_step, [1.0, -1.0, 0.0], params)[0] == [1.0, -1.0, 0.0]


def test_spike_needs_the_whole_threshold_and_taking_back_a_negative_potential():
    params = NeuronParams(1.0, 4)
    assert run(cif_step, [0.5], params)[0] == [1.0]  # v == theta
    assert run(cif_step, [0.375], params)[0] == [0.0]
    assert run(cif_step, [0.5, 0.0], params)[0] == [1.0, 0.0]  # v == 0
    assert run(cif_step, [0.5, -0.125], params)[0] == [1.0, -1.0]


def test_step_keeps_shape_and_dtype_and_leaves_the_state_alone():
    params = NeuronParams(1.0, 4)
    current = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    state = initial_state(current, params)
    for step in NEURONS.values():
        spikes, new = step(current, state, params)
        assert spikes.shape == new.v.shape == new.n.shape == current.shape
        assert spikes.dtype == new.v.dtype == new.n.dtype == current.dtype
    assert (state.v == 0.5).all() and (state.n == 0).all()
