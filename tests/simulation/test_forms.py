"""Every form of the neuron rule that the engines run, against the rule itself, over random parameters and states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casc_det.neurons.rule import NeuronParams, NeuronState, neuron_step
from casc_det.simulation.fast import forms
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.forms import NO_LIMIT, Layer, events, scan, scan_torch, tile

needs_numba = pytest.mark.skipif(not compiled(torch.device("cpu")), reason="this form is compiled by numba")
LIMITS, LOWS = (-1, 0, 1, 3, 16, NO_LIMIT), (0.0, -0.25, -1.0, float("-inf"))


def by_rule(layer: Layer, current: torch.Tensor, channels: int) -> tuple[torch.Tensor, NeuronState]:
    """Spikes (K, B, N), and the state after: the rule, step by step and channel by channel, of currents (K, B, N)."""
    split = lambda x: x.view(len(layer.images), -1, channels)
    state = NeuronState(split(layer.v[layer.images]), split(layer.n[layer.images]).to(layer.v.dtype))
    spikes = []
    for k in range(len(current)):
        limit = None if layer.limits[k] == NO_LIMIT else int(layer.limits[k])
        params = NeuronParams(layer.theta[:channels], limit, low=float(layer.lows[k]))
        sent, state = neuron_step(split(current[k]), state, params)
        spikes.append(sent.flatten(1))
    return torch.stack(spikes), state


def random_layer(random, steps: int, places: int, channels: int, dtype) -> Layer:
    """A layer of three images, of which the first and the last run; whole numbers, often on a boundary."""
    integers = lambda low, high, *shape: torch.randint(low, high, shape, generator=random)
    theta = tile(integers(1, 9, channels).to(dtype) * 4)
    v, n = integers(-40, 41, 3, places * channels).to(dtype), integers(0, 5, 3, places * channels).to(torch.int16)
    limits = torch.tensor([LIMITS[int(i)] for i in integers(0, len(LIMITS), steps)], dtype=torch.int16)
    lows = torch.tensor([LOWS[int(i)] for i in integers(0, len(LOWS), steps)], dtype=dtype)
    return Layer(theta, v, n, torch.tensor([0, 2]), limits, lows)


def assert_is_the_rule(layer: Layer, found: tuple, wanted: torch.Tensor, state: NeuronState, kept: Layer) -> None:
    spikes, fired = found
    assert torch.equal(spikes.flatten(2).int() - 1, wanted.int())
    assert torch.equal(fired, torch.stack([(wanted > 0).sum(2), (wanted < 0).sum(2)]))
    assert torch.equal(layer.v[layer.images], state.v.flatten(1))
    assert torch.equal(layer.n[layer.images], state.n.flatten(1).to(torch.int16))
    assert torch.equal(layer.v[1], kept.v[1]) and torch.equal(layer.n[1], kept.n[1])  # the image that does not run


@pytest.mark.parametrize("form", [pytest.param("compiled", marks=needs_numba), "torch"])
@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([1, 7, 700]),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
)
def test_scan_is_the_rule(form, seed, steps, places, channels, double, still):
    random, dtype = torch.Generator().manual_seed(seed), torch.float64 if double else torch.float32
    layer = random_layer(random, steps, places, channels, dtype)
    if still:  # the rule stays, so that silent blocks may be left out
        layer = layer._replace(limits=layer.limits[:1].repeat(steps), lows=layer.lows[:1].repeat(steps))
    rows = torch.where(torch.rand(steps, 2, generator=random) < 0.6, torch.arange(2 * steps).view(steps, 2), -1)
    current = torch.randint(-30, 31, (2 * steps, places * channels), generator=random).to(dtype)
    current *= torch.rand(2 * steps, 1, generator=random) < 0.7
    bias = torch.randint(-9, 10, (steps, channels), generator=random).to(dtype)
    bias *= torch.rand(steps, 1, generator=random) < 0.5
    came = torch.where((rows >= 0)[..., None], current[rows.clamp(min=0)], 0) + bias.repeat(1, places)[:, None]
    wanted, state = by_rule(layer, came, channels)
    moved = layer._replace(v=layer.v.clone(), n=layer.n.clone())
    if form == "torch":
        found = (torch.empty_like(wanted, dtype=torch.uint8), torch.zeros(2, steps, 2, dtype=torch.int64))
        scan_torch(moved, current, rows, tile(bias), channels, *found)
    else:
        found = scan(moved, current, rows, tile(bias), channels)
    assert_is_the_rule(moved, found, wanted, state, layer)


@needs_numba
@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([((1, 1), (1, 1), (1, 1)), ((2, 1), (0, 1), (1, 2))]))
def test_events_are_a_convolution_and_the_rule(seed, steps, geometry):
    random, (height, width, inner, outer, zero) = torch.Generator().manual_seed(seed), (7, 6, 8, 5, 2)
    weight = torch.randint(-9, 10, (outer, inner, 3, 2), generator=random).float()
    spikes = torch.randint(-zero, zero + 1, (steps, 2, height, width, inner), generator=random)
    spikes *= torch.rand(spikes.shape, generator=random) < 0.03
    maps = spikes.float().flatten(0, 1).permute(0, 3, 1, 2)
    came = torch.nn.functional.conv2d(maps, weight, None, *geometry).permute(0, 2, 3, 1)
    shape = tuple(came.shape[1:])
    layer = random_layer(random, 1, shape[0] * shape[1], outer, torch.float32)
    layer = layer._replace(limits=layer.limits.repeat(steps), lows=layer.lows.repeat(steps))
    wanted, state = by_rule(layer, came.reshape(steps, 2, -1), outer)
    moved = layer._replace(v=layer.v.clone(), n=layer.n.clone())
    some = (spikes != 0).flatten(2).any(2)
    packed = weight.permute(1, 2, 3, 0).flip(2).flatten(2).contiguous()
    active = torch.ones(3, shape[0] * shape[1], dtype=torch.uint8)
    data = (spikes + zero).to(torch.uint8)
    found = events(moved, data, zero, some, packed, geometry, active, shape)
    assert_is_the_rule(moved, found, wanted, state, layer)
    fires = (wanted[-1] != 0).view(2, -1, outer).any(2)
    assert torch.equal(active[[0, 2]].bool(), fires)  # where nothing is left out in the next step


def test_forms_can_differ_from_the_rule(monkeypatch):
    """What is compared above would show a form that differs."""
    monkeypatch.setattr(forms, "neuron_step", lambda x, state, params: neuron_step(x, state, params._replace(low=-9.0)))
    with pytest.raises(AssertionError):
        test_scan_is_the_rule.hypothesis.inner_test("torch", 3, 6, 7, 4, True, False)
