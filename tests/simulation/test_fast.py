"""The fast engine against the reference engine: the same numbers at every step, however it is cut and computed."""

import pytest
import torch
from conftest import EXACT_OPS, simulate, small_graph, small_images
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulated import add_chain, assert_equal_runs, following, graph_of_signals, spiking_graphs, wide_graph

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError
from casc_det.graph import moved
from casc_det.graph.bounds import proved_range
from casc_det.neurons.schedule import SCHEDULES, Schedule
from casc_det.simulation import SimulationSettings, Simulator
from casc_det.simulation.fast import chunk as chunks
from casc_det.simulation.fast import compiling, convolution, engine, forms
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture

small_graphs = spiking_graphs(3)
seeds = st.integers(0, 1000)
KINDS = [("cif", "wsc"), ("if", "wsc"), ("signed_if", "wsc"), ("cif", "constant"), ("if", "constant")]


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
        patch.setitem(SCHEDULES, "own", lambda levels, *variants: Schedule(levels, wake, *variants))
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


functions = st.lists(st.sampled_from(["silu", "relu", "gelu", "leaky_relu(0.25)", "identity"]), min_size=1, max_size=3)
variants = st.fixed_dictionaries(
    {
        "burst": st.sampled_from([1, 3, 8]),
        "ramp": st.booleans(),
        "hysteresis": st.sampled_from([0.0, 0.0, 0.25]),
        "delay": st.sampled_from([0.0, 0.0, 1.5]),
    }
)


def limited(variants: dict, graph: g.SpikingGraph) -> dict:
    """The same with a burst of at most Q."""
    return {**variants, "burst": min(variants["burst"], graph.levels)}


@pytest.mark.parametrize("chunk", [1, 3, 16])
@settings(max_examples=25)
@given(small_graphs, functions, st.sampled_from([0.25, 1.0, 4.0]), variants, seeds, st.booleans(), st.booleans())
def test_tables_bursts_and_the_ramp_rule(chunk, graph, functions, clip, variants, seed, integer, double):
    graph = following(graph, functions, clip)
    graph = moved(to_integer(graph), torch.float64 if double else torch.float32) if integer else graph
    variants, images = limited(variants, graph), small_images(2, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CHUNK", chunk)
        patch.setattr(chunks, "SPARSE", 0.5)
        steps = assert_equal_runs(graph, images, **variants)
    ann = ann_forward(graph, images.to(graph.dtype))
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())
    assert bool(steps[-1].quiescent.all()) and max(step.peaks.max() for step in steps) > 0


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("burst", [1, 3, 8])
@pytest.mark.parametrize("share", [0.0, 0.3, 1e9])
def test_tables_with_spikes_followed_one_by_one_or_convolved(burst, share, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(compiling, "numba", None)
    monkeypatch.setattr(chunks, "SPARSE", share)
    graph = following(wide_graph(burst, 16), ["silu", "silu", "mish"], 0.5)
    images = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(burst)).double() / 255
    steps = assert_equal_runs(graph, images, burst=burst, ramp=burst != 3)
    assert max(int(value.abs().max()) for s in steps for value in s.spikes.values()) == burst
    assert min(int(n.min()) for n in steps[-1].counts.values()) < 0
    ann = ann_forward(graph, images.to(graph.dtype))
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())
    steps = assert_equal_runs(graph, images, 40, burst=burst, compare=ann.counts)
    assert steps[0].match.sum() > 0 and steps[-1].match.sum() == 0


@pytest.mark.parametrize("burst", [1, 3, 8])
def test_tables_in_pieces_with_any_number_of_threads(burst, tmp_path):
    graph = following(wide_graph(1, 16), ["silu"], 0.5)
    simulator = Simulator(graph, SimulationSettings(burst=burst, ramp=True, hysteresis=0.25))
    begin = simulator.start(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    whole, steps = simulator.advance(begin, 24)
    state, found = begin, []
    for i, count in enumerate((1, 4, 2, 17)):
        torch.set_num_threads(1 + i % 2)
        try:
            state, part = simulator.advance(state, count)
        finally:
            torch.set_num_threads(1)
        state, found = simulator.load(state.save(tmp_path / "state.safetensors")), found + part
    for name, (v, n) in whole.neurons.items():
        assert torch.equal(state.neurons[name].v, v) and torch.equal(state.neurons[name].n, n)
    for a, b in zip(steps, found, strict=True):
        assert torch.equal(a.fired, b.fired) and torch.equal(a.messages, b.messages)
        assert all(torch.equal(a.readout[name], value) for name, value in b.readout.items())


@pytest.mark.parametrize(("neuron", "schedule"), KINDS)
@settings(max_examples=12)
@given(small_graphs, seeds, st.integers(2, 8), st.booleans())
def test_bursts_of_every_kind(neuron, schedule, graph, seed, burst, integer):
    graph = moved(to_integer(graph), torch.float64) if integer else graph
    assert_equal_runs(graph, small_images(seed=seed), 9, neuron, schedule, burst=min(burst, graph.levels))


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


@settings(max_examples=40)
@given(random_dags(), seeds, st.sampled_from(["relu", "silu"]), variants)
def test_random_graphs_of_additions_of_bursts(graph, seed, function, variants):
    graph = following(graph, [function], 0.5)
    images = torch.randint(0, 256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed)) / 255
    assert_equal_runs(graph, images, 9, **limited(variants, graph))


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


@pytest.mark.parametrize("share", [0.0, 0.3, 1e9])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_followed_one_by_one_or_convolved(share, batch, dtype, monkeypatch):
    used = []
    monkeypatch.setattr(chunks, "SPARSE", share)
    monkeypatch.setattr(engine, "CHUNK", 4)
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
