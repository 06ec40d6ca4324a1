"""Conversion keeps what a captured network computes."""

import copy
from dataclasses import replace

import pytest
import torch
from conftest import OPS, YOLOS, live_yolo, simulate, small_graph, small_images

from casc_det import graph as g
from casc_det.conversion.audit import EXACT, TEMPORAL
from casc_det.conversion.spiking import convert_graph, fold_batchnorm, real_weights
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture


def float_forward(graph: g.Graph, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The captured graph with real-valued activations, straight from the equations: what conversion must keep."""
    per_channel = lambda x: x.view(1, -1, 1, 1)
    count = lambda node, x: torch.floor(node.levels * x / node.lam + 0.5).clamp(0, node.levels)
    rules = {
        g.Input: lambda node: images,
        g.Conv: lambda node, x: node.compute(x) + per_channel(node.bias),
        g.BatchNorm: lambda node, x: x * per_channel(node.scale) + per_channel(node.shift),
        g.Activation: lambda node, x: node.lam / node.levels * count(node, x),
        g.Readout: lambda node, x: x,
    }
    return g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs))


@pytest.mark.parametrize("ops", [*((op, "conv") for op in OPS), ("concat", "groups"), OPS], ids="+".join)
def test_conversion_keeps_what_the_ops_compute(ops):
    graph, images = small_graph(*ops), small_images()
    expected, answer = float_forward(graph, images), ann_forward(convert_graph(graph)[0], images).readout
    assert expected.keys() == answer.keys()
    for name, value in expected.items():
        torch.testing.assert_close(answer[name], value, rtol=0, atol=1e-12)


def test_conversion_leaves_its_graph_unchanged():
    graph = small_graph(*OPS)
    before = copy.deepcopy(graph)
    spiking, _ = convert_graph(graph)
    spiking.meta["new"] = 1
    for node in spiking.nodes:
        for value in g.tensors(node).values():
            value.zero_()
    assert graph.meta == before.meta and len(graph.nodes) == len(before.nodes)
    for node, old in zip(graph.nodes, before.nodes, strict=True):
        assert (node.name, node.inputs, g.settings(node)) == (old.name, old.inputs, g.settings(old))
        assert all(torch.equal(value, g.tensors(old)[key]) for key, value in g.tensors(node).items())


def test_batchnorm_folding_equals_torch():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3, padding=1).double()
    norm = torch.nn.BatchNorm2d(4).double().eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(value)
    torch.nn.init.uniform_(norm.running_var, 0.1, 2)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    nodes = [
        g.Input("image", ()),
        g.Conv("conv", ("image",), conv.weight.detach(), conv.bias.detach(), padding=(1, 1)),
        g.BatchNorm("norm", ("conv",), scale.detach(), (norm.bias - norm.running_mean * scale).detach()),
        g.Readout("boxes0", ("norm",)),
    ]
    folded = fold_batchnorm(g.Graph(nodes, ["thing"], [1], 1, 64))
    assert [type(node) for node in folded.nodes] == [g.Input, g.Conv, g.Readout]
    images = small_images()
    with torch.no_grad():
        torch.testing.assert_close(float_forward(folded, images)["boxes0"], norm(conv(images)), rtol=0, atol=1e-12)


def test_addition_of_different_clips_would_give_a_wrong_answer(monkeypatch):
    """The refusal is needed: without it the converted network no longer computes the captured one."""
    graph = small_graph("add")
    name = graph.of_type(g.Add)[0].inputs[1]
    graph = replace(graph, nodes=[replace(node, lam=0.5) if node.name == name else node for node in graph.nodes])
    monkeypatch.setattr(g.Add, "problem", g.Node.problem)
    images = small_images()
    expected, answer = float_forward(graph, images), ann_forward(convert_graph(graph)[0], images).readout
    assert (answer["boxes0"] - expected["boxes0"]).abs().max() > 0.1


@pytest.mark.parametrize("ops", [("sigmoid",), ("concat", "sigmoid", "conv"), ("sigmoid", "max", "add")])
def test_sigmoid_is_a_temporal_difference_and_exact_at_quiescence(ops):
    graph, images = small_graph(*ops), small_images()
    spiking, rows = convert_graph(graph)
    assert [(row.op, row.status) for row in rows if row.status != EXACT] == [("sigmoid", TEMPORAL)]
    *_, last = simulate(spiking, images)
    assert last.quiescent.all()
    for name, value in float_forward(graph, images).items():
        torch.testing.assert_close(last.readout[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", YOLOS)
def test_converted_yolo_equals_the_torch_model(name):
    model, images = live_yolo(name)
    spiking, rows = convert_graph(capture(model))
    assert {row.status for row in rows} == {EXACT}
    readout = ann_forward(spiking, images).readout
    with torch.no_grad():
        raw = model(images)[1]
    for kind in ("boxes", "scores"):
        maps = [readout[f"{kind}{level}"].flatten(2) for level in range(len(spiking.strides))]
        torch.testing.assert_close(torch.cat(maps, 2), raw[kind], rtol=0, atol=1e-9)


@pytest.mark.parametrize("ops", [("norm", "conv"), ("groups", "concat", "add"), ("max", "slice", "conv")])
def test_real_weights_undo_the_balancing(ops):
    graph = fold_batchnorm(small_graph(*ops))
    weights = real_weights(convert_graph(graph)[0])
    assert weights.keys() == {node.name for node in graph.of_type(g.Conv)}
    for node in graph.of_type(g.Conv):
        assert torch.allclose(weights[node.name][0], node.weight) and torch.allclose(weights[node.name][1], node.bias)
