"""Every form of the neuron rule that the engines run, against the rule itself, over random parameters and states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casc_det.neurons.functions import table_of
from casc_det.neurons.rule import NeuronParams, NeuronState, Table, neuron_step
from casc_det.simulation.fast import forms
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.forms import NO_LIMIT, Layer, Tables, events, scan, scan_torch, tile

needs_numba = pytest.mark.skipif(not compiled(torch.device("cpu")), reason="this form is compiled by numba")
LIMITS, LOWS = (-1, 0, 1, 3, 16, NO_LIMIT), (0.0, -0.25, -1.0, float("-inf"))


def by_rule(layer: Layer, tables, current: torch.Tensor, channels: int) -> tuple[torch.Tensor, NeuronState]:
    """Spikes (K, B, N), and the state after: the rule, step by step, of currents (K, B, N)."""
    maps = lambda x: x.view(len(layer.images), -1, channels, 1).transpose(1, 2)
    lines = lambda x: x.transpose(1, 2).flatten(1)
    state = NeuronState(maps(layer.v[layer.images]), maps(layer.n[layer.images]).to(layer.v.dtype))
    spikes, theta = [], layer.theta[:channels].view(-1, 1, 1)
    for k in range(len(current)):
        limit = None if layer.limits[k] == NO_LIMIT else int(layer.limits[k])
        table = tables[int(layer.which[k])] if tables else None
        params = NeuronParams(theta, limit, None, float(layer.lows[k]), layer.gamma, layer.n_min, table)
        sent, state = neuron_step(maps(current[k]), state, params)
        spikes.append(lines(sent))
    return torch.stack(spikes), NeuronState(*map(lines, state))


def random_tables(random, theta: torch.Tensor, unit: float) -> list[Table]:
    """Up to three tables of any counts, rising and falling, with equal thresholds, and with inf where one ends; and one
    of a function, as networks have them."""
    integers = lambda low, high, *shape: torch.randint(low, high, shape, generator=random)
    channels, dtype = len(theta), theta.dtype
    found = table_of("silu", float(integers(1, 9)), int(integers(1, 17)))
    rows = (found.thresholds * theta.double()[:, None]).to(dtype)
    result = [Table(rows, found.counts.to(dtype).repeat(channels, 1))]
    for _ in range(int(integers(0, 4))):
        size = int(integers(0, 14))
        thresholds = integers(-60, 61, channels, size).to(dtype).sort(1).values * unit
        thresholds[:, size - int(integers(0, 3)) :] = float("inf")
        result.append(Table(thresholds, integers(-4, 17, size + 1).to(dtype).repeat(channels, 1)))
    return result


def random_layer(random, steps: int, places: int, channels: int, dtype, kind=(1, False), unit=1.0) -> tuple:
    """A layer of three images, of which the first and the last run, and its tables: integers times `unit`, often on a
    boundary. kind: gamma, and whether there are tables."""
    integers = lambda low, high, *shape: torch.randint(low, high, shape, generator=random)
    gamma, tabled = kind
    theta = integers(1, 9, channels).to(dtype) * 4 * unit
    v, n = integers(-90, 91, 3, places * channels).to(dtype) * unit, integers(-3, 5, 3, places * channels)
    limits = torch.tensor([LIMITS[int(i)] for i in integers(0, len(LIMITS), steps)], dtype=torch.int16)
    lows = torch.tensor([LOWS[int(i)] for i in integers(0, len(LOWS), steps)], dtype=dtype)
    tables = random_tables(random, theta, unit) if tabled else []
    which = integers(0, len(tables), steps) if tabled else None
    state = (tile(theta), v, n.to(torch.int16), torch.tensor([0, 2]), limits, lows)
    return Layer(*state, gamma, -int(integers(0, 4)), Tables.of(tables, theta), which), tables


def steady(layer: Layer, steps: int) -> Layer:
    """The same with the rule of the first step in all."""
    stay = lambda x: None if x is None else x[:1].repeat(steps)
    return layer._replace(limits=stay(layer.limits), lows=stay(layer.lows), which=stay(layer.which))


def copied(layer: Layer) -> Layer:
    return layer._replace(v=layer.v.clone(), n=layer.n.clone())


def assert_is_the_rule(layer: Layer, found: tuple, wanted: torch.Tensor, state: NeuronState, kept: Layer) -> None:
    spikes, fired = found
    assert torch.equal(spikes.flatten(2).int() - layer.gamma, wanted.int())
    more, fewer = wanted.clamp(min=0).sum(2), -wanted.clamp(max=0).sum(2)
    assert torch.equal(fired, torch.stack([more, fewer, (wanted != 0).sum(2)]).long())
    assert torch.equal(layer.v[layer.images], state.v)
    assert torch.equal(layer.n[layer.images], state.n.to(torch.int16))
    assert torch.equal(layer.v[1], kept.v[1]) and torch.equal(layer.n[1], kept.n[1])  # the image that does not run


kinds = st.tuples(st.sampled_from([1, 1, 2, 3, 8, 64]), st.booleans())  # gamma, with tables


@pytest.mark.parametrize("form", [pytest.param("compiled", marks=needs_numba), "torch"])
@settings(max_examples=120)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([(1, 1), (7, 5), (7, 9), (40, 130), (700, 3)]),
    st.booleans(),
    st.booleans(),
    kinds,
    st.sampled_from([1.0, 0.1]),
)
def test_scan_is_the_rule(form, seed, steps, size, double, still, kind, unit):
    random, dtype = torch.Generator().manual_seed(seed), torch.float64 if double else torch.float32
    places, channels = size
    layer, tables = random_layer(random, steps, places, channels, dtype, kind, unit)
    if still:  # the rule stays, so that silent blocks may be left out
        layer = steady(layer, steps)
    rows = torch.where(torch.rand(steps, 2, generator=random) < 0.6, torch.arange(2 * steps).view(steps, 2), -1)
    current = torch.randint(-60, 61, (2 * steps, places * channels), generator=random).to(dtype) * unit
    current *= torch.rand(2 * steps, 1, generator=random) < 0.7
    bias = torch.randint(-9, 10, (steps, channels), generator=random).to(dtype) * unit
    bias *= torch.rand(steps, 1, generator=random) < 0.5
    came = torch.where((rows >= 0)[..., None], current[rows.clamp(min=0)], 0) + bias.repeat(1, places)[:, None]
    wanted, state = by_rule(layer, tables, came, channels)
    moved = copied(layer)
    if form == "torch":
        found = (torch.empty_like(wanted, dtype=torch.uint8), torch.zeros(3, steps, 2, dtype=torch.int64))
        scan_torch(moved, current, rows, tile(bias), channels, *found)
    else:
        found = scan(moved, current, rows, tile(bias), channels)
    assert_is_the_rule(moved, found, wanted, state, layer)


@needs_numba
@settings(max_examples=100)
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.sampled_from([((1, 1), (1, 1), (1, 1)), ((2, 1), (0, 1), (1, 2))]),
    kinds,
)
def test_events_are_a_convolution_and_the_rule(seed, steps, geometry, kind):
    random, (height, width, inner, outer, zero) = torch.Generator().manual_seed(seed), (7, 6, 8, 5, 2)
    weight = torch.randint(-9, 10, (outer, inner, 3, 2), generator=random).float()
    spikes = torch.randint(-zero, zero + 1, (steps, 2, height, width, inner), generator=random)
    spikes *= torch.rand(spikes.shape, generator=random) < 0.03
    maps = spikes.float().flatten(0, 1).permute(0, 3, 1, 2)
    came = torch.nn.functional.conv2d(maps, weight, None, *geometry).permute(0, 2, 3, 1)
    shape = tuple(came.shape[1:])
    layer, tables = random_layer(random, 1, shape[0] * shape[1], outer, torch.float32, kind)
    layer = steady(layer, steps)
    wanted, state = by_rule(layer, tables, came.reshape(steps, 2, -1), outer)
    moved = copied(layer)
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
        test_scan_is_the_rule.hypothesis.inner_test("torch", 3, 6, (7, 4), True, False, (1, False), 1.0)
