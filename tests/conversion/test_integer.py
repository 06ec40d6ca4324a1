"""The integer graph: integers throughout, a proved range, and an ANN that a plain loop agrees with."""

from collections import deque

import numpy as np
import pytest
import torch
from conftest import OPS, live_yolo, simulate, small_graph, small_images
from fuzz_models import BLOCKS, small_detector
from hypothesis import given, settings
from hypothesis import strategies as st

from casc_det import graph as g
from casc_det.conversion.integer import round_balanced, to_integer, to_real, with_levels
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, ConversionError
from casc_det.graph import moved
from casc_det.graph.bounds import EXACT_BELOW, LARGEST, proved_range
from casc_det.graph.file import load_graph, save_graph
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture
from casc_det.yolo.convert import convert
from casc_det.yolo.install import cq_sites

EXACT_OPS = [op for op in OPS if op != "sigmoid"]
integer_graphs = st.builds(
    lambda ops, levels, seed: to_integer(convert_graph(small_graph(*ops, levels=levels, seed=seed))[0]),
    st.lists(st.sampled_from(EXACT_OPS), max_size=3),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.integers(0, 1000),
)
seeds = st.integers(0, 1000)


def loop_convolution(x: np.ndarray, node: g.Conv) -> np.ndarray:
    """int64 sums, position by position."""
    weight = node.weight.numpy().astype(np.int64)
    (up, left), (down, across), (tall, wide) = node.padding, node.stride, node.dilation
    x = np.pad(x, ((0, 0), (0, 0), (up, up), (left, left)))
    out, inner, rows, columns = weight.shape
    height = (x.shape[2] - tall * (rows - 1) - 1) // down + 1
    width = (x.shape[3] - wide * (columns - 1) - 1) // across + 1
    y = np.zeros((len(x), out, height, width), np.int64)
    for o in range(out):
        first = o // (out // node.groups) * inner
        for i in range(rows):
            for j in range(columns):
                part = x[:, first : first + inner, i * tall :, j * wide :][:, :, ::down, ::across][
                    :, :, :height, :width
                ]
                y[:, o] += (part * weight[o, :, i, j][None, :, None, None]).sum(1)
    return y


@settings(max_examples=30)
@given(integer_graphs, seeds)
def test_ann_is_the_plain_loop_over_whole_numbers(graph, seed):
    images = small_images(1, seed=seed).float()
    ann, values = ann_forward(graph, images), {}
    for node in graph.nodes:
        x = [values[name] for name in node.inputs]
        match node:
            case g.Input():
                value = np.rint(images.numpy() * 255).astype(np.int64) * graph.levels
            case g.Conv():
                value = loop_convolution(x[0], node) + node.bias.numpy().astype(np.int64)[None, :, None, None]
            case g.Neuron():
                theta = node.theta.numpy().astype(np.int64)
                value = np.clip((x[0] + theta // 2) // theta, 0, graph.levels)
                assert np.array_equal(ann.counts[node.name].numpy(), value)
            case g.Readout():
                value = x[0]
                assert np.array_equal(
                    ann.readout[node.name].numpy(), value * node.scale.double().numpy() / graph.levels
                )
            case _:
                value = node.compute(*(torch.tensor(v, dtype=torch.float64) for v in x)).numpy().astype(np.int64)
        values[node.name] = value


@settings(max_examples=30)
@given(integer_graphs, seeds)
def test_every_value_is_whole_and_within_the_proved_range(graph, seed):
    bounds = proved_range(graph)
    for step in simulate(graph, small_images(seed=seed).float(), engine="reference"):
        for node in graph.of_type(g.Neuron):
            v, n = step.states[node.name]
            assert torch.equal(v, v.round()) and v.abs().max() <= bounds[node.inputs[0]]
            assert n.min() >= 0 and n.max() <= graph.levels
        for node in graph.of_type(g.Readout):
            total = step.total(node.name)
            assert torch.equal(total, total.round()) and total.abs().max() <= bounds[node.inputs[0]]


@settings(max_examples=30)
@given(integer_graphs, seeds)
def test_float32_and_float64_are_the_same_numbers(graph, seed):
    images = small_images(seed=seed)
    for a, b in zip(simulate(graph, images.float()), simulate(moved(graph, torch.float64), images), strict=True):
        assert torch.equal(a.fired, b.fired)
        assert all(torch.equal(a.readout[name], value) for name, value in b.readout.items())


@settings(max_examples=30)
@given(integer_graphs, st.integers(1, 40))
def test_bias_shares_add_up(graph, steps):
    for node in graph.of_type(g.Conv):
        shares = [graph.wake_bias(node, t - 1, t) for t in range(1, steps + 1)]
        assert torch.equal(
            sum(s.double() for s in shares), (node.bias.double() * steps / graph.levels).floor().view(-1, 1, 1)
        )
        assert torch.equal(graph.summed_bias(node, graph.levels).flatten(), node.bias)
        assert (torch.stack(shares).amax(0) - torch.stack(shares).amin(0)).max() <= 1


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]), st.integers(1, 6), st.floats(0.5, 140))
def test_rounding_takes_neighbours_and_balances_the_errors(seed, kernel, inner, largest):
    random = torch.Generator().manual_seed(seed)
    values = (torch.rand(5, inner, kernel, kernel, generator=random, dtype=torch.float64) * 2 - 1) * largest
    whole = round_balanced(values)
    assert torch.equal(whole, whole.round()) and whole.abs().max() <= LARGEST
    inside = values.abs() <= LARGEST
    assert ((whole - values).abs()[inside] < 1).all()
    if inside.all() and largest < LARGEST - 1:
        assert ((whole - values).flatten(1).sum(1).abs() <= 0.5 + 1e-9).all()


def test_integer_network_is_near_the_real_one():
    model, images = live_yolo("yolov8n")
    real = convert_graph(capture(model))[0]
    expected, found = ann_forward(real, images).readout, ann_forward(to_integer(real), images.float()).readout
    for name, value in expected.items():
        assert (found[name] - value).norm() < 0.3 * value.norm()  # random weights amplify what differs


def test_way_back_gives_a_real_graph_with_the_rounded_weights():
    integer = to_integer(convert_graph(small_graph(*EXACT_OPS))[0])
    real = to_real(moved(integer, torch.float64))
    assert not real.integer and to_real(real) is real and to_integer(integer) is integer
    first, theta = integer.of_type(g.Conv)[0], integer.of_type(g.Neuron)[0].theta.double()
    torch.testing.assert_close(real.of_type(g.Conv)[0].weight * theta[..., None] / 255, first.weight.double())
    for a, b in zip(real.of_type(g.Conv), convert_graph(small_graph(*EXACT_OPS))[0].of_type(g.Conv), strict=True):
        assert (a.weight - b.weight).abs().max() <= 0.02 * b.weight.abs().max()
        assert torch.allclose(a.bias, b.bias, atol=0.02)


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_another_q_is_what_conversion_with_it_gives(levels):
    model, images = live_yolo("yolov8n")
    real = convert(model, precision="float").graph
    for site in cq_sites(model):
        site.levels = levels
    expected, found = convert(model, precision="float").graph, with_levels(real, levels)
    assert found.levels == levels != real.levels and with_levels(real, real.levels) is real
    for a, b in zip(expected.nodes, found.nodes, strict=True):
        for key, value in g.tensors(a).items():
            torch.testing.assert_close(g.tensors(b)[key], value, rtol=1e-6, atol=1e-9)
    whole = with_levels(to_integer(real), levels)
    last = deque(simulate(whole, images.float()), maxlen=1).pop()
    for name, value in ann_forward(whole, images.float()).readout.items():
        assert torch.equal(last.readout[name], value)
    with pytest.raises(ArgumentError, match="levels"):
        with_levels(real, 0)


def test_file_holds_8_bit_weights_and_comes_back(tmp_path):
    from safetensors import safe_open

    graph = small_detector(*BLOCKS[:8])
    path = save_graph(graph, tmp_path / "integer.safetensors")
    with safe_open(path, "pt") as file:
        kinds = {key.split(".")[-1]: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds == {"weight": torch.int8, "bias": torch.int32, "theta": torch.int32, "scale": torch.float32}
    loaded = load_graph(path)
    assert loaded.integer and loaded.dtype == torch.float32
    for a, b in zip(graph.nodes, loaded.nodes, strict=True):
        assert all(torch.equal(value, g.tensors(b)[key]) for key, value in g.tensors(a).items())


def test_convert_makes_integers_by_default(tmp_path):
    model, _ = live_yolo("yolov8n")
    assert convert(model, imgsz=64).graph.integer
    conversion = convert(model, imgsz=64, precision="float")
    assert not conversion.graph.integer
    path = conversion.save(tmp_path / "real.safetensors")
    assert convert(path).graph.integer and convert(path).graph.imgsz == 64


@pytest.mark.parametrize("ops", [("sigmoid",), ("add",)])
def test_what_cannot_be_whole_is_refused(ops):
    graph = convert_graph(small_graph(*ops))[0]
    if ops == ("add",):  # a convolution without neurons in the middle
        conv = g.Conv("extra", (graph.nodes[2].name,), torch.ones(4, 4, 1, 1).double(), torch.zeros(4).double())
        graph = g.SpikingGraph(
            [*graph.nodes, conv, g.Conv("more", ("extra",), conv.weight, conv.bias), g.Readout("boxes1", ("more",))],
            graph.names, [1], 1, 64, {}, 4,
        )  # fmt: skip
    with pytest.raises(ConversionError, match="use precision=float"):
        to_integer(graph)


def test_a_range_beyond_float32_is_refused():
    graph = to_integer(convert_graph(small_graph("conv"))[0])
    conv = graph.of_type(g.Conv)[1]
    conv.bias.fill_(EXACT_BELOW)
    with pytest.raises(ConversionError, match="2\\^24"):
        proved_range(graph)
    conv.weight[0, 0, 0, 0] = 0.5
    with pytest.raises(ConversionError, match="8 bits"):
        proved_range(graph)
