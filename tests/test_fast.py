"""The fast engine against the reference engine: the same numbers at every step, however it is cut and computed."""

import pytest
import torch
from conftest import OPS, live_yolo, small_graph, small_images
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casc_det import graph as g
from casc_det.ann import ann_forward
from casc_det.conversion import convert_graph
from casc_det.engine import convolution, fast, kernels, network, simulate
from casc_det.engine.network import prepare
from casc_det.graph import moved
from casc_det.integer import to_integer
from casc_det.yolo.capture import capture

EXACT_OPS = [op for op in OPS if op != "sigmoid"]
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
        if kernels.numba is not None:
            assert kernels.numba.get_num_threads() == min(threads, kernels.numba.config.NUMBA_NUM_THREADS)
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
        assert torch.equal(a.passed, b.passed)
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


@pytest.mark.parametrize("chunk", [1, 3, 16])
@settings(max_examples=12)
@given(small_graphs, seeds, st.integers(1, 3))
@example(convert_graph(small_graph(*EXACT_OPS))[0], 0, 2)
def test_integer_graphs_until_rest_however_cut(chunk, graph, seed, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "CHUNK", chunk)
        images = small_images(batch, seed=seed)
        images[0] /= 8  # comes to rest at another step
        assert_equal_runs(to_integer(graph), images)
        assert_equal_runs(to_integer(graph), images, 3 * graph.levels, at=(1, graph.levels + 2))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("hysteresis", "delay"), [(0.25, 0.0), (0.0, 0.5), (0.5, 2.0), (0.0, 7.0)])
def test_fewer_corrections(hysteresis, delay, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernels, "numba", None)
    monkeypatch.setattr(fast, "SPARSE", 1.0)
    graph, images = wide_graph(3), torch.randint(0, 256, (2, 3, 16, 16)).double() / 255
    steps = assert_equal_runs(graph, images, hysteresis=hysteresis, delay=delay)
    ann = ann_forward(graph, images.to(graph.dtype))
    assert all(torch.equal(steps[-1].counts[name], value) for name, value in ann.counts.items())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("delay", [0.0, 3.0])
def test_rates_against_wanted_counts(compiled, delay, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernels, "numba", None)
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


@pytest.mark.parametrize("share", [0.0, 0.3, 1e9])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spikes_followed_one_by_one_or_convolved(share, batch, dtype, monkeypatch):
    used = []
    monkeypatch.setattr(fast, "SPARSE", share)
    monkeypatch.setattr(fast, "CHUNK", 5)
    monkeypatch.setattr(fast, "events", lambda *a: used.append(1) or kernels.events(*a))
    for seed in range(3):
        assert_equal_runs(moved(wide_graph(seed), dtype), small_images(batch, 12, seed=seed))
    assert bool(used) == (share > 0 and kernels.numba is not None)


@pytest.mark.parametrize("neuron", ["cif", "if"])
def test_without_numba_and_without_8_bit_sums(neuron, monkeypatch):
    graph, images = wide_graph(), small_images(2, 12)
    monkeypatch.setattr(kernels, "numba", None)
    monkeypatch.setattr(convolution, "has_int8", lambda: False)
    assert_equal_runs(graph, images, 11, neuron)
    assert prepare(graph).convolutions["b.conv"].int8 is None


def test_8_bit_sums_are_those_of_floats():
    if not convolution.has_int8():
        pytest.skip("torch has no 8-bit convolution here")
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (8, 8, 3, 3), generator=random).float()
    node = g.Conv("c", (), weight, torch.zeros(8), (2, 1), (1, 2), (1, 1), 1)
    for zero in (1, 2, 64):
        x = torch.randint(0, 2 * zero + 1, (3, 8, 9, 7), generator=random).to(torch.uint8)
        x = convolution.channels_last(x)
        found = convolution.SpikeConvolution(node, True)(x, zero)
        assert torch.equal(found, torch.nn.functional.conv2d(x.float() - zero, weight, None, (2, 1), (1, 2)))


def test_steps_stay_valid_after_later_steps():
    graph, images = wide_graph(), small_images(2, 12).float()
    kept = list(simulate(graph, images, 12))
    for step, again in zip(kept, simulate(graph, images, 12, engine="reference"), strict=True):
        assert torch.equal(step.readout["boxes0"], again.readout["boxes0"])


def test_states_come_at_the_steps_asked_for():
    steps = list(simulate(wide_graph(), small_images(1, 12).float(), 5, at=(2,)))
    assert [step.t for step in steps if step.states] == [2, 5]  # also where the run ends


def test_prepared_network_lives_as_long_as_its_graph():
    graph = wide_graph()
    key = id(graph)
    assert prepare(graph) is prepare(graph) and key in network._prepared
    del graph
    assert key not in network._prepared


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
