"""The reference engine: laws of neurons, of rest and of the ANN that it comes to."""

from functools import partial

import conftest
import pytest
import torch
from conftest import EXACT_OPS, OPS, small_images
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated import OddSteps, silent_step, spiking, spiking_graphs
from torch.nn import functional as F

from casc_det import graph as g
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS
from casc_det.neurons.rule import neuron_step
from casc_det.neurons.schedule import SCHEDULES, Schedule
from casc_det.simulation import SimulationSettings, auto_limit, depths
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture

simulate = partial(conftest.simulate, engine="reference")  # tests/simulation/test_fast.py holds the fast one to it
graphs = spiking_graphs(4)
seeds = st.integers(0, 1000)


def last_step(*args, **kwargs):
    *_, last = simulate(*args, **kwargs)
    return last


def totals(graph: g.SpikingGraph, images: torch.Tensor, counts: dict, wakes: int) -> dict[str, torch.Tensor]:
    """What each node has sent in all, given the neurons' counts and the number of wake steps so far."""
    rules = {
        g.Input: lambda node: images * wakes,
        g.Conv: lambda node, x: node.compute(x) + wakes * node.bias.view(1, -1, 1, 1),
        g.Neuron: lambda node, x: counts[node.name],
        g.Readout: lambda node, x: x,
    }
    return g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs), keep=True)


@settings(max_examples=40)
@given(graphs, seeds)
@example(spiking(*EXACT_OPS), 0)
def test_engine_is_the_ann_at_quiescence_within_the_limit(graph, seed):
    images = small_images(seed=seed)
    last, ann = last_step(graph, images), ann_forward(graph, images)
    assert last.quiescent.all() and last.t <= auto_limit(graph)
    assert last.counts.keys() == ann.counts.keys() and last.readout.keys() == ann.readout.keys()
    assert all(torch.equal(last.counts[name], value) for name, value in ann.counts.items())
    assert all(torch.equal(last.readout[name], value) for name, value in ann.readout.items())


@pytest.mark.parametrize("neuron", ["cif", "if"])
@pytest.mark.parametrize("schedule", ["wsc", "constant"])
@settings(max_examples=12)
@given(graphs, seeds)
@example(spiking(*EXACT_OPS), 0)
def test_potential_law_holds_for_every_neuron_at_every_step(neuron, schedule, graph, seed):
    images = small_images(1, seed=seed)
    for step in simulate(graph, images, 3 * graph.levels + 2, neuron, schedule):
        wakes = step.t if schedule == "constant" else min(step.t, graph.levels)
        sent = totals(graph, images, step.counts, wakes)
        for node in graph.of_type(g.Neuron):
            v, n = step.states[node.name]
            assert torch.equal(v, node.theta / 2 + sent[node.inputs[0]] - node.theta * n)
            assert n.min() >= 0 and (neuron == "if" or schedule == "constant" or n.max() <= graph.levels)
        for name, value in step.readout.items():
            assert torch.equal(value, sent[name] / wakes)


@settings(max_examples=15)
@given(graphs, seeds)
def test_quiescence_lasts_and_changes_nothing(graph, seed):
    images = small_images(seed=seed)
    *before, rest = simulate(graph, images)
    assert not any(step.quiescent.all() for step in before)
    for step in list(simulate(graph, images, rest.t + 4))[rest.t :]:
        assert step.quiescent.all() and not step.sops.any()
        assert not sum(step.positive.values()).any() and not sum(step.negative.values()).any()
        for name, (v, n) in rest.states.items():
            assert torch.equal(step.states[name].v, v) and torch.equal(step.states[name].n, n)
        assert all(torch.equal(step.readout[name], value) for name, value in rest.readout.items())


@settings(max_examples=15)
@given(graphs, seeds)
@example(spiking("sigmoid", "conv"), 0)
def test_batch_equals_single_runs(graph, seed):
    images = small_images(2, seed=seed)
    images[1] /= 4
    both = list(simulate(graph, images, 12))
    for i in range(2):
        for step, one in zip(both, simulate(graph, images[i : i + 1], 12), strict=True):
            assert step.quiescent[i] == one.quiescent[0] and step.sops[i] == one.sops[0]
            for name, state in one.states.items():
                assert torch.equal(step.counts[name][i], state.n[0])
                assert step.positive[name][i] == one.positive[name][0]
                assert step.negative[name][i] == one.negative[name][0]
            for name, value in one.readout.items():
                torch.testing.assert_close(step.readout[name][i], value[0], rtol=0, atol=1e-12)


@given(st.lists(st.lists(st.integers(-1, 1), min_size=12, max_size=12), max_size=12))
def test_max_pool_of_spikes_is_a_spike(steps):
    """What the max pool sends is maxpool(count at t) - maxpool(count at t-1), in {-1, 0, 1}."""
    pool = g.MaxPool("pool", ("x",), (3, 3), (1, 1), (1, 1))
    count = torch.zeros(1, 1, 3, 4)
    for spikes in steps:
        after = (count + torch.tensor(spikes).view(1, 1, 3, 4)).clamp(min=0)
        sent = pool.compute(after) - pool.compute(count)
        assert sent.abs().max() <= 1
        count = after


def test_max_pool_readout_is_the_pooled_count_at_every_step():
    graph, taken_back = spiking("conv", "conv", "max"), 0
    (pool,) = graph.of_type(g.MaxPool)
    nodes = [*graph.nodes[: graph.nodes.index(pool) + 1], g.Readout("boxes0", (pool.name,))]
    for step in simulate(g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, 4), small_images()):
        pooled = F.max_pool2d(step.counts[pool.inputs[0]], 3, 1, 1)
        assert torch.equal(step.readout["boxes0"] * min(step.t, 4), pooled)
        taken_back += int(step.negative[pool.inputs[0]].sum())
    assert taken_back > 0  # counts fall, too


def overshoot_graph() -> g.SpikingGraph:
    """Two neurons a, b reach 2 and 1 in four steps, a first; the third gets a - 2b = 0, but +1 at the first step."""
    red = torch.tensor([[0.5, 0, 0], [0.25, 0, 0]]).double().view(2, 3, 1, 1)
    nodes = [
        g.Input("image", ()),
        g.Conv("first", ("image",), red, torch.zeros(2).double()),
        g.Neuron("ab", ("first",), 1.0, 4),
        g.Conv("second", ("ab",), torch.tensor([1.0, -2.0]).double().view(1, 2, 1, 1), torch.zeros(1).double()),
        g.Neuron("c", ("second",), 1.0, 4),
        g.Readout("boxes0", ("c",)),
    ]
    return g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, 4)


def test_if_keeps_a_spike_sent_too_early_and_cif_takes_it_back():
    graph, images = overshoot_graph(), torch.ones(1, 3, 1, 1).double()
    ann = ann_forward(graph, images)
    assert ann.counts["ab"].flatten().tolist() == [2, 1] and ann.counts["c"].item() == 0
    path = {neuron: [s.counts["c"].item() for s in simulate(graph, images, 8, neuron)] for neuron in ("cif", "if")}
    assert path["cif"][0] == path["if"][0] == 1
    assert path["cif"][-1] == 0 and path["if"][-1] == 1


def test_if_does_not_reach_the_ann_where_cif_does():
    graph, images = spiking("conv", "add", "conv"), small_images()
    ann = ann_forward(graph, images)
    for neuron, exact in (("cif", True), ("if", False)):
        last = last_step(graph, images, auto_limit(graph), neuron)
        assert all(torch.equal(last.counts[name], value) for name, value in ann.counts.items()) is exact


@pytest.mark.parametrize("wake", [3, 5])
def test_another_wake_length_does_not_reach_the_ann(wake, monkeypatch):
    graph, images = spiking("conv", "add"), small_images()
    monkeypatch.setitem(SCHEDULES, "wsc", lambda levels, *_: Schedule(levels, wake))
    last, ann = last_step(graph, images, 60), ann_forward(graph, images)
    assert last.quiescent.all()
    assert any(not torch.equal(last.counts[name], value) for name, value in ann.counts.items())


def double_step(current, state, params):
    """CIF with twice the threshold."""
    return neuron_step(current, state, params._replace(theta=2 * params.theta))


@pytest.mark.parametrize("kind", ["mine", "cif", "signed_if"])  # added, or in the place of ours
def test_own_neuron_and_own_schedule_are_used(kind, monkeypatch):
    monkeypatch.setitem(NEURONS, kind, silent_step)
    monkeypatch.setitem(SCHEDULES, "odd", lambda levels, *_: OddSteps(levels, None))
    graph, images = spiking("conv", levels=4), small_images()
    conv, neuron = graph.nodes[1:3]
    current = F.conv2d(images, conv.weight, conv.bias, conv.stride, conv.padding)
    for step in simulate(graph, images, 9, kind, "odd", record=True):
        assert not step.fired.any() and not step.spikes[neuron.name].any()
        assert torch.equal(step.states[neuron.name].v, 0.5 + (step.t + 1) // 2 * current)


def test_own_neuron_gets_the_parameters_of_cif(monkeypatch):
    graph, images = spiking("conv", "add", levels=4), small_images()
    seen = set()

    def step(current, state, params):
        seen.add((params.levels, params.low))
        return neuron_step(current, state, params)

    monkeypatch.setitem(NEURONS, "mine", step)
    options = {"hysteresis": 0.25, "delay": 2.0, "record": True}
    runs = [simulate(graph, images, 20, kind, **options) for kind in ("mine", "cif")]
    for own, ours in zip(*runs, strict=True):
        assert own.t == ours.t and all(torch.equal(own.spikes[name], value) for name, value in ours.spikes.items())
    assert seen == {(4, -0.25), (4, 0)}
    monkeypatch.setitem(NEURONS, "mine", double_step)
    assert not torch.equal(last_step(graph, images, 3, "mine").fired, last_step(graph, images, 3).fired)


@pytest.mark.parametrize("wake", [0, -1, 2.0, True, "4"])
def test_a_schedule_without_a_wake_step_is_refused(wake):
    with pytest.raises(ArgumentError, match="^wake: expected an integer of at least 1, or None"):
        Schedule(4, wake)


@settings(max_examples=20, deadline=None)
@given(graphs, seeds, st.sampled_from([0.25, 0.5, 2.0]), st.sampled_from([0.0, 0.25, 0.5, 3.0, 9.0]))
def test_fewer_corrections_keep_the_fixed_point(graph, seed, hysteresis, delay):
    images = small_images(seed=seed)
    steps = list(simulate(graph, images, hysteresis=hysteresis, delay=delay))
    ann = ann_forward(graph, images)
    assert steps[-1].quiescent.all() and steps[-1].t <= auto_limit(graph, SimulationSettings(delay=delay))
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())


def test_waiting_layers_send_nothing_and_silence_is_not_rest():
    graph, images = spiking("conv", "conv", levels=4), small_images()
    reached = depths(graph)
    for step in simulate(graph, images, delay=5.0):
        for name, sent in step.positive.items():
            assert step.t > 5 * (reached[name] - 1) or not sent.any()
        assert step.t > 5 * (max(reached.values()) - 1) or not step.quiescent.any()


def test_silence_during_wake_is_not_quiescence():
    graph, images = overshoot_graph(), torch.full((1, 3, 1, 1), 0.25).double()
    steps = list(simulate(graph, images))
    assert not sum(steps[0].positive.values()).any() and not steps[0].quiescent.any()
    assert sum(sum(step.positive.values()).item() for step in steps) > 0 and steps[-1].quiescent.all()


def test_constant_input_never_rests():
    graph, images = spiking("conv"), small_images()
    assert not any(step.quiescent.any() for step in simulate(graph, images, 20, schedule="constant"))


def test_simulation_leaves_graph_and_images_alone():
    graph, images = spiking(*OPS), small_images()
    kept = [value.clone() for node in graph.nodes for value in g.tensors(node).values()]
    before = images.clone()
    last_step(graph, images)
    after = [value for node in graph.nodes for value in g.tensors(node).values()]
    assert torch.equal(images, before) and all(torch.equal(a, b) for a, b in zip(kept, after, strict=True))


def test_yolo_is_the_ann_at_quiescence(yolo):
    model, images = yolo
    graph = convert_graph(capture(model))[0]
    last, ann = last_step(graph, images), ann_forward(graph, images)
    assert last.quiescent.all() and last.t < auto_limit(graph)
    assert sum(int((last.counts[name] != value).sum()) for name, value in ann.counts.items()) == 0
    assert sum(int(value.sum()) for value in ann.counts.values()) > 100_000
    for name, value in ann.readout.items():
        torch.testing.assert_close(last.readout[name], value, rtol=0, atol=1e-9)


def test_yolo_batch_equals_single_runs(yolo):
    model, images = yolo
    graph = convert_graph(capture(model))[0]
    both = last_step(graph, images, 7)
    for i in range(2):
        one = last_step(graph, images[i : i + 1], 7)
        assert all(torch.equal(both.counts[name][i], n[0]) for name, n in one.counts.items())
        for name, value in one.readout.items():
            torch.testing.assert_close(both.readout[name][i], value[0], rtol=0, atol=1e-12)
