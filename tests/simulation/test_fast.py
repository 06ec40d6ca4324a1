"""The fast engine against the reference engine: the same numbers at every step, however it is cut and computed."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import EXACT_OPS, live_yolo, simulate, small_graph, small_images
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, ConversionError
from casc_det.graph import moved
from casc_det.graph.bounds import proved_range, unlimited_range
from casc_det.neurons.schedule import SCHEDULES, Schedule
from casc_det.simulation import SimulationSettings, Simulator, exact_dtype
from casc_det.simulation.fast import chunk as chunks
from casc_det.simulation.fast import compiling, convolution, engine, forms
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture

small_graphs = st.builds(
    lambda ops, levels, seed: convert_graph(small_graph(*ops, levels=levels, seed=seed))[0],
    st.lists(st.sampled_from(EXACT_OPS), max_size=3),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 1000),
)
seeds = st.integers(0, 1000)
KINDS = [("cif", "wsc"), ("if", "wsc"), ("signed_if", "wsc"), ("cif", "constant"), ("if", "constant")]


@pytest.mark.parametrize("threads", [1, 2])
def test_thread_count_is_torchs_and_stays(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        list(simulate(convert_graph(small_graph())[0], small_images(), 2))
        assert torch.get_num_threads() == threads
        if compiling.numba is not None:
            assert compiling.numba.get_num_threads() == min(threads, compiling.numba.config.NUMBA_NUM_THREADS)
    finally:
        torch.set_num_threads(before)


def wide_graph(seed: int = 0, levels: int = 4) -> g.SpikingGraph:
    """Channels in eights, strides, a dilation, a residual and a max pool: what `events` and the 8-bit sums need."""
    random = torch.Generator().manual_seed(seed)
    nodes = [g.Input("image", ())]

    def layer(name, x, out, inner, kernel, **geometry):
        weight = torch.randn(out, inner, kernel, kernel, generator=random, dtype=torch.float64) / inner**0.5 / kernel
        bias = torch.randn(out, generator=random, dtype=torch.float64) / levels / 4
        nodes.append(g.Conv(f"{name}.conv", (x,), weight, bias, **geometry))
        nodes.append(g.Neuron(name, (f"{name}.conv",), 1.0, levels))
        return name

    a = layer("a", "image", 8, 3, 3, padding=(1, 1))
    b = layer("b", a, 16, 8, 3, stride=(2, 2), padding=(1, 1))
    c = layer("c", b, 16, 16, 3, padding=(2, 2), dilation=(2, 2))
    nodes.append(g.Add("sum", (b, c)))
    nodes.append(g.Concat("both", ("sum", c)))
    nodes.append(g.MaxPool("pool", ("both",), (3, 3), (1, 1), (1, 1)))
    d = layer("d", "pool", 8, 32, 1)
    e = layer("e", d, 16, 8, 2, stride=(2, 1), padding=(0, 1))
    head = torch.randn(4, 16, 1, 1, generator=random, dtype=torch.float64)
    nodes.append(g.Conv("head", (e,), head, torch.ones(4, dtype=torch.float64)))
    nodes.append(g.Readout("boxes0", ("head",)))
    return to_integer(g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, levels))


def assert_equal_runs(graph, images, *args, at=(), **kwargs) -> list:
    """Both engines agree in everything that a step holds; returns the steps."""
    images = images.to(graph.dtype)
    slow = list(simulate(graph, images, *args, engine="reference", record=True, **kwargs))
    quick = list(simulate(graph, images, *args, engine="fast", record=True, at=at, **kwargs))
    assert [step.t for step in slow] == [step.t for step in quick]
    for a, b in zip(slow, quick, strict=True):
        assert torch.equal(a.quiescent, b.quiescent) and torch.equal(a.fired, b.fired)
        assert torch.equal(a.sops_by_layer, b.sops_by_layer)
        assert a.spikes.keys() == b.spikes.keys() and a.readout.keys() == b.readout.keys()
        assert all(torch.equal(value, b.spikes[name]) for name, value in a.spikes.items())
        assert all(torch.equal(value, b.readout[name]) for name, value in a.readout.items())
        assert a.match is b.match is None or torch.equal(a.match, b.match)
        for name, state in b.states.items():
            assert torch.equal(a.states[name].v, state.v) and torch.equal(a.states[name].n, state.n)
    assert slow[-1].states.keys() == quick[-1].states.keys()
    return quick


@pytest.mark.parametrize(("neuron", "schedule"), KINDS)
@settings(max_examples=12)
@given(small_graphs, seeds, st.integers(1, 3))
@example(convert_graph(small_graph(*EXACT_OPS))[0], 0, 2)
def test_real_valued_graphs(neuron, schedule, graph, seed, batch):
    assert_equal_runs(graph, small_images(batch, seed=seed), 2 * graph.levels + 3, neuron, schedule)


@settings(max_examples=20)
@given(small_graphs, st.integers(1, 20), st.sampled_from([0, 0.25]), st.sampled_from([0, 1.5]), st.booleans())
def test_wakes_of_any_length(graph, wake, hysteresis, delay, integer):
    graph = to_integer(graph) if integer else graph
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCHEDULES, "own", lambda levels, hysteresis, delay: Schedule(levels, wake, hysteresis, delay))
        assert_equal_runs(graph, small_images(), 25, "cif", "own", hysteresis=hysteresis, delay=delay)


@pytest.mark.parametrize("chunk", [1, 3, 16])
@settings(max_examples=12)
@given(small_graphs, seeds, st.integers(1, 3))
@example(convert_graph(small_graph(*EXACT_OPS))[0], 0, 2)
def test_integer_graphs_until_rest_however_cut(chunk, graph, seed, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CHUNK", chunk)
        images = small_images(batch, seed=seed)
        images[0] /= 8  # comes to rest at another step
        assert_equal_runs(to_integer(graph), images)
        assert_equal_runs(to_integer(graph), images, 3 * graph.levels, at=(1, graph.levels + 2))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("hysteresis", "delay"), [(0.25, 0.0), (0.0, 0.5), (0.5, 2.0), (0.0, 7.0)])
def test_fewer_corrections(hysteresis, delay, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(compiling, "numba", None)
    monkeypatch.setattr(chunks, "SPARSE", 1.0)
    graph, images = wide_graph(3), torch.randint(0, 256, (2, 3, 16, 16)).double() / 255
    steps = assert_equal_runs(graph, images, hysteresis=hysteresis, delay=delay)
    ann = ann_forward(graph, images.to(graph.dtype))
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("delay", [0.0, 3.0])
def test_rates_against_wanted_counts(compiled, delay, monkeypatch):
    if not compiled:
        monkeypatch.setattr(compiling, "numba", None)
    graph, images = wide_graph(1), small_images(3, 12)
    ann = ann_forward(graph, images.to(graph.dtype))
    steps = assert_equal_runs(graph, images, 40, compare=ann.counts, delay=delay)
    assert steps[0].match.shape == (5, 3, 3) and steps[0].match.sum() > 0 and steps[-1].match.sum() == 0
    for step in steps[:6]:
        for k, sent in enumerate(ann.counts):
            n = sum(s.spikes[sent] for s in steps[: step.t])
            gap = n * graph.levels - ann.counts[sent] * min(step.t, graph.levels)
            assert step.match[k, :, 0].tolist() == (gap > 0).flatten(1).sum(1).tolist()
            assert step.match[k, :, 2].tolist() == gap.abs().flatten(1).sum(1).tolist()


def graph_of_signals(build, levels: int = 4, seed: int = 0, theta: int = 40) -> g.SpikingGraph:
    """An integer graph: eight neurons `a`, what `build(nodes, channels)` adds, then a convolution, neurons, an output.

    Values behind the convolution are whatever `build` makes of spikes; its weights are few and small, so that the proof
    holds for large ones.
    """
    random = torch.Generator().manual_seed(seed)
    weight = lambda low, high, *shape: torch.randint(low, high, shape, generator=random).float()
    nodes, channels = [g.Input("image", ())], {"a": 8}
    nodes.append(g.Conv("a.conv", ("image",), weight(-60, 61, 8, 3, 3, 3), weight(-50, 50, 8), padding=(1, 1)))
    nodes.append(g.Neuron("a", ("a.conv",), torch.full((8, 1, 1), 9000.0), levels))
    last = build(nodes, channels)
    kernel = weight(-2, 3, 8, channels[last], 1, 1)
    nodes.append(g.Conv("b.conv", (last,), kernel, weight(-50, 50, 8)))
    nodes.append(g.Neuron("b", ("b.conv",), torch.full((8, 1, 1), float(theta)), levels))
    nodes.append(g.Conv("head", ("b",), weight(-9, 10, 4, 8, 1, 1), weight(-9, 10, 4)))
    nodes.append(g.Readout("boxes0", ("head",), scale=torch.full((4, 1, 1), 0.5)))
    return g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, levels, True)


def add_chain(nodes, channels, lengths, kinds) -> str:
    """Additions a + a, then (a + a) + (a + a), ... or Fibonacci's, with a node of `kinds` behind every other one."""
    signals = ["a"]
    for i, step in enumerate(lengths):
        name = f"add{i}"
        nodes.append(g.Add(name, (signals[-1], signals[max(-step, -len(signals))])))
        channels[name] = 8
        signals.append(name)
        if kinds and i % 2:
            kind, name = kinds[i // 2 % len(kinds)], f"move{i}"
            match kind:
                case "max":
                    nodes.append(g.MaxPool(name, (signals[-1],), (3, 3), (1, 1), (1, 1)))
                case "concat":  # with half of the signal before it, in other channels
                    nodes.append(g.Slice(f"{name}.x", (signals[-1],), 0, 4))
                    nodes.append(g.Slice(f"{name}.y", (signals[0],), 4, 8))
                    nodes.append(g.Concat(name, (f"{name}.x", f"{name}.y")))
                case "pad":  # and cut off again by a pool of one
                    nodes.append(g.ZeroPad(f"{name}.x", (signals[-1],), (1, 0, 1, 0)))
                    nodes.append(g.MaxPool(name, (f"{name}.x",), (2, 2), (1, 1)))
                case "up":
                    nodes.append(g.Upsample(f"{name}.x", (signals[-1],), (2, 2)))
                    nodes.append(g.AvgPool(name, (f"{name}.x",), (2, 2), (2, 2), divisor=1))
            channels[name] = 8
            signals = [name]  # sizes stay, older signals need not
    return signals[-1]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("kinds", [(), ("max",), ("concat", "max", "pad"), ("max", "up", "max")], ids="-".join)
@pytest.mark.parametrize("step", [1, 2])
def test_long_chains_of_additions(step, kinds, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(compiling, "numba", None)
    graph = graph_of_signals(lambda nodes, channels: add_chain(nodes, channels, [step] * 12, kinds), theta=900)
    assert max(proved_range(graph).values()) < 2**24
    images = torch.randint(0, 256, (2, 3, 5, 6), generator=torch.Generator().manual_seed(1)) / 255
    steps = assert_equal_runs(graph, images)
    largest = max(int(value.abs().max()) for s in steps for value in s.spikes.values())
    assert largest == 1 and sum(int(s.fired[1].sum()) for s in steps) > 0
    ann = ann_forward(graph, images)
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())
    for neuron, schedule in KINDS[1:]:
        assert_equal_runs(graph, images, 9, neuron, schedule)


@st.composite
def random_dags(draw) -> g.SpikingGraph:
    """Doublings of `a`, then up to 10 additions, concatenations, pools, slices, upsamplings of signals of one size."""

    def build(nodes, channels):
        first, doubled = "a", draw(st.integers(0, 7))
        for _ in range(doubled):
            nodes.append(g.Add(f"{first}a", (first, first)))
            first = f"{first}a"
        channels[first] = 8
        size, sums = {"a": 0, first: 0}, {"a": 1, first: 2**doubled}  # upsamplings on the path; largest spike
        for i in range(draw(st.integers(1, 10))):
            kind = draw(st.sampled_from(["add", "add", "add", "concat", "max", "slice", "up"]))
            x, name = draw(st.sampled_from(sorted(channels))), f"n{i}"
            alike = [y for y in channels if size[y] == size[x] and (kind == "concat" or channels[y] == channels[x])]
            y = draw(st.sampled_from(sorted(alike)))
            if kind == "concat" and channels[x] + channels[y] > 64:
                continue
            if kind == "add" and draw(st.booleans()):
                y = x
            match kind:
                case "add":
                    node, count, sums[name] = g.Add(name, (x, y)), channels[x], sums[x] + sums[y]
                case "concat":
                    node, count, sums[name] = g.Concat(name, (x, y)), channels[x] + channels[y], max(sums[x], sums[y])
                case "max":
                    node, count, sums[name] = g.MaxPool(name, (x,), (3, 3), (1, 1), (1, 1)), channels[x], sums[x]
                case "slice":
                    node, count, sums[name] = g.Slice(name, (x,), 0, channels[x] // 2), channels[x] // 2, sums[x]
                case "up":
                    node, count, sums[name] = g.Upsample(name, (x,), (2, 1)), channels[x], sums[x]
            if not count or (kind == "up" and size[x]):
                continue
            nodes.append(node)
            channels[name], size[name] = count, size[x] + (kind == "up")
        return max(channels, key=lambda name: sums[name])

    return graph_of_signals(build, draw(st.sampled_from([1, 4])), draw(seeds), draw(st.sampled_from([3, 40, 900])))


@settings(max_examples=60)
@given(random_dags(), seeds, st.sampled_from(KINDS))
def test_random_graphs_of_additions(graph, seed, kind):
    assert max(proved_range(graph).values()) < 2**24
    images = torch.randint(0, 256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed)) / 255
    assert_equal_runs(graph, images, 9, *kind)


def test_sums_that_no_number_holds_are_refused():
    for count in (22, 3000):
        graph = graph_of_signals(lambda nodes, channels, n=count: add_chain(nodes, channels, [1] * n, ()))
        with pytest.raises(ConversionError, match="not below 2"):
            proved_range(graph)


@pytest.mark.parametrize(("neuron", "schedule"), KINDS[1:])
def test_counts_and_potentials_end_at_what_is_exact(neuron, schedule):
    def build(nodes, channels):
        last = add_chain(nodes, channels, [1] * 6, ())
        nodes.append(g.MaxPool("pool", (last,), (3, 3), (1, 1), (1, 1)))
        return channels.update(pool=8) or "pool"

    graph, images = graph_of_signals(build), torch.ones(1, 3, 3, 3)
    graph.nodes[1].weight.abs_().mul_(2)  # every neuron sends at every step
    with pytest.raises(ArgumentError, match="exact in .* steps of this network at most, got 600; give fewer steps$"):
        next(simulate(graph, images, 600, neuron, schedule))
    with pytest.raises(ArgumentError, match="from 1 to 32767"):
        next(simulate(graph, images, 100000, neuron, schedule))
    if schedule == "constant":
        graph.nodes[1].weight.mul_(0.5)
        with pytest.raises(ArgumentError, match="float64"):
            next(simulate(graph, images, 511, neuron, schedule))
        images, graph = images.double(), moved(graph, torch.float64)
    *_, last = simulate(graph, images, 511, neuron, schedule)  # 64 times that is 32704
    *_, slow = simulate(graph, images, 511, neuron, schedule, engine="reference")
    assert torch.equal(last.readout["boxes0"], slow.readout["boxes0"]) and torch.equal(last.fired, slow.fired)
    assert all(torch.equal(last.counts[name], value) for name, value in slow.counts.items())
    assert schedule == "wsc" or last.counts["a"].max() == 511


def test_most_exact_steps_are_the_largest_number_that_fits():
    graph, images = wide_graph(), torch.ones(1, 3, 8, 8)
    with pytest.raises(ArgumentError) as error:
        next(simulate(graph, images, 30000, "if", "constant"))
    most = int(re.search(r"exact in (\d+) steps", str(error.value))[1])
    largest = [max(unlimited_range(graph, t, t).values()) for t in (most, most + 1)]
    assert largest[0] < 2**24 <= largest[1]
    assert next(simulate(graph, images, most, "if", "constant")).t == 1
    assert exact_dtype(graph, most, SimulationSettings("fast", "if", "constant")) == torch.float32
    assert exact_dtype(graph, most + 1, SimulationSettings("fast", "if", "constant")) == torch.float64
    assert exact_dtype(graph, 30000, SimulationSettings("fast", "cif", "wsc")) == torch.float32


@pytest.mark.parametrize("share", [0.0, 0.3, 1e9])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_followed_one_by_one_or_convolved(share, batch, dtype, monkeypatch):
    used = []
    monkeypatch.setattr(chunks, "SPARSE", share)
    monkeypatch.setattr(engine, "CHUNK", 5)
    monkeypatch.setattr(chunks, "events", lambda *a: used.append(1) or forms.events(*a))
    for seed in range(3):
        assert_equal_runs(moved(wide_graph(seed), dtype), small_images(batch, 12, seed=seed))
    assert bool(used) == (share > 0 and compiling.numba is not None)


@pytest.mark.parametrize("neuron", ["cif", "if"])
def test_without_numba_and_without_8_bit_sums(neuron, monkeypatch):
    graph, images = wide_graph(), small_images(2, 12)
    monkeypatch.setattr(compiling, "numba", None)
    monkeypatch.setattr(convolution, "has_int8", lambda: False)
    assert_equal_runs(graph, images, 11, neuron)
    assert Simulator(graph)._engine.network.convolutions["b.conv"].int8 is None


def test_steps_stay_valid_after_later_steps():
    graph, images = wide_graph(), small_images(2, 12).float()
    kept = list(simulate(graph, images, 12))
    for step, again in zip(kept, simulate(graph, images, 12, engine="reference"), strict=True):
        assert torch.equal(step.readout["boxes0"], again.readout["boxes0"])


def test_states_come_at_the_steps_asked_for():
    steps = list(simulate(wide_graph(), small_images(1, 12).float(), 5, at=(2,)))
    assert [step.t for step in steps if step.states] == [2, 5]  # also where the run ends


def test_an_edited_graph_is_another_one():
    graph, images = wide_graph(), small_images(1, 12).float()
    edit = lambda name, **fields: [replace(node, **fields) if node.name == name else node for node in graph.nodes]
    conv, theta = graph.nodes[[node.name for node in graph.nodes].index("c.conv")], graph.of_type(g.Neuron)[1].theta
    six = [replace(node, levels=6) if isinstance(node, g.Neuron) else node for node in graph.nodes]
    changes = [
        {"nodes": edit("c.conv", weight=-conv.weight)},
        {"nodes": edit("c.conv", bias=conv.bias + 700)},
        {"nodes": edit("b", theta=theta * 3)},
        {"nodes": edit("c.conv", dilation=(1, 1), padding=(1, 1))},
        {"nodes": edit("d.conv", inputs=("both",))},
        {"nodes": six, "levels": 6},
    ]
    before = assert_equal_runs(graph, images, 9)
    for change in changes:
        after = assert_equal_runs(replace(graph, **change), images, 9)
        assert not all(torch.equal(a.fired, b.fired) for a, b in zip(before, after, strict=True))


def test_a_simulator_serves_many_batches():
    simulator = Simulator(wide_graph())
    for batch in (1, 3, 2):
        images = small_images(batch, 12, seed=batch).float()
        for step, alone in zip(simulator.run(images), simulate(wide_graph(), images), strict=True):
            assert torch.equal(step.fired, alone.fired) and torch.equal(step.readout["boxes0"], alone.readout["boxes0"])


def at_once() -> None:
    """Four Python threads that simulate at once, against one after the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    graph, images = wide_graph(), [small_images(2, 16, seed=i).float() for i in range(6)]
    run = lambda x: [(step.fired, step.readout["boxes0"]) for step in simulate(graph, x)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, images * 3))
    for got, want in zip(found, [run(x) for x in images] * 3, strict=True):
        assert all(torch.equal(a, b) for x, y in zip(got, want, strict=True) for a, b in zip(x, y, strict=True))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_several_python_threads_at_once():
    at_once()


@pytest.mark.skipif(compiling.numba is None, reason="these are numba's threads")
def test_several_python_threads_at_once_without_openmp():
    code = "import test_fast; test_fast.at_once(); print(test_fast.compiling.numba.threading_layer())"
    tests = str(Path(__file__).parents[1])  # conftest.py
    paths = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "PYTHONPATH": paths}
    options = {"env": environment, "cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([sys.executable, "-c", code], **options)
    assert done.returncode == 0 and done.stdout.split() == ["workqueue"], done.stderr


def test_sigmoid_agrees_within_rounding():
    graph, images = convert_graph(small_graph("sigmoid", "max", "conv"))[0], small_images()
    for a, b in zip(simulate(graph, images, 9, engine="reference"), simulate(graph, images, 9), strict=True):
        for name, value in a.readout.items():
            torch.testing.assert_close(b.readout[name], value, rtol=0, atol=1e-12)


def test_yolo_integers_are_the_ann_bit_for_bit(yolo):
    model, images = yolo
    graph, images = to_integer(convert_graph(capture(model))[0]), images.float()
    *_, last = assert_equal_runs(graph, images)
    ann = ann_forward(graph, images)
    assert all(torch.equal(last.counts[name], value) for name, value in ann.counts.items())
    assert all(torch.equal(last.readout[name], value) for name, value in ann.readout.items())


def test_any_number_of_threads_gives_the_same_spikes():
    model, images = live_yolo("yolov8n")
    graph, images = to_integer(convert_graph(capture(model))[0]), images.float()
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(list(simulate(graph, images, 9)))
    torch.set_num_threads(1)
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.fired, b.fired) and torch.equal(a.readout["boxes0"], b.readout["boxes0"])
