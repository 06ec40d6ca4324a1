from pathlib import Path

import pytest
import torch
from conftest import small_graph

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError
from casc_det.graph import ops


def make(*nodes) -> g.Graph:
    return g.Graph(list(nodes), ["thing"], [1], 1, 64)


def test_unknown_input_is_refused_naming_both_ends():
    with pytest.raises(ConversionError, match=r"node 'sum' \(Add\) reads 'nowhere', which is no earlier node"):
        make(g.Input("image", ()), g.Add("sum", ("image", "nowhere")))


def test_later_input_is_refused():
    with pytest.raises(ConversionError, match="'up' .* reads 'late'.*topological order"):
        make(g.Input("image", ()), g.Upsample("up", ("late",)), g.Upsample("late", ("image",)))


def test_node_cannot_read_itself():
    with pytest.raises(ConversionError, match="reads 'sum'"):
        make(g.Input("image", ()), g.Add("sum", ("image", "sum")))


def test_duplicate_name_is_refused():
    with pytest.raises(ConversionError, match="two nodes are named 'image'; names must be unique"):
        make(g.Input("image", ()), g.Input("image", ()))


def test_consumers_lists_every_reader():
    graph = small_graph("add", "concat")
    consumers = graph.consumers()
    assert consumers.keys() == {node.name for node in graph.nodes}
    read = [(source, node.name) for source, nodes in consumers.items() for node in nodes]
    assert sorted(read) == sorted((source, node.name) for node in graph.nodes for source in node.inputs)


def test_of_type_keeps_the_order():
    graph = small_graph("norm", "conv")
    assert graph.of_type(g.Conv) == [node for node in graph.nodes if isinstance(node, g.Conv)]
    assert len(graph.of_type(g.BatchNorm)) == 1


def test_settings_and_tensors_together_are_all_fields():
    node = g.Conv("c", ("image",), torch.ones(2, 3, 1, 1), torch.zeros(2), stride=(2, 1))
    assert g.tensors(node).keys() == {"weight", "bias"}
    assert g.settings(node) == {"stride": (2, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def test_node_types_are_the_ops_of_the_files_each_with_all_its_rules():
    files = {path.stem for path in Path(ops.__file__).parent.glob("[!_]*.py")}
    assert {kind.__module__.rsplit(".", 1)[-1] for kind in g.NODE_TYPES.values()} == files
    assert len(g.NODE_TYPES) == len(files) and all(not g.lacking(kind) for kind in g.NODE_TYPES.values())


def conv(weight, bias):
    return g.Conv("c", ("image",), weight, bias)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], "expected an Input as its first node"),
        ([g.Slice("s", (), 0, 1)], "expected an Input as its first node"),
        ([g.Input("image", ()), g.Add("sum", ("image",))], "'sum' .* has 1 inputs, expected 2"),
        ([g.Input("image", ()), g.Neuron("n", ())], "'n' .* has 0 inputs, expected 1"),
        ([g.Input("image", ()), g.Concat("cat", ())], "'cat' .* has 0 inputs, expected at least 1"),
        ([g.Input("image", ()), conv(torch.ones(1), torch.ones(1))], r"'c' .* weight of shape \(1,\)"),
        ([g.Input("image", ()), conv(torch.ones(2, 3, 1, 1), torch.ones(3))], r"bias of shape \(3,\)"),
    ],
)
def test_broken_nodes_are_refused(nodes, words):
    with pytest.raises(ConversionError, match=words):
        make(*nodes)


@pytest.mark.parametrize(("field", "value"), [("levels", 0), ("levels", "x"), ("strides", "ab"), ("strides", [0])])
def test_broken_settings_are_refused(field, value):
    fields = {"strides": [1], "levels": 4} | {field: value}
    with pytest.raises(ConversionError, match=field):
        g.SpikingGraph([g.Input("image", ())], ["thing"], reg_max=1, imgsz=64, **fields)


def test_threshold_must_be_positive():
    with pytest.raises(ConversionError, match="theta=0"):
        g.SpikingGraph([g.Input("image", ()), g.Neuron("n", ("image",), 0.0)], ["thing"], [1], 1, 64)


@pytest.mark.parametrize("ops", [(), ("norm", "max", "sigmoid"), ("pad", "slice", "concat", "avg")])
def test_repr_is_one_short_line(ops):
    graph = small_graph(*ops)
    for thing in (graph, convert_graph(graph)[0], *graph.nodes, *convert_graph(graph)[0].nodes):
        assert repr(thing).startswith(f"{type(thing).__name__}(") and len(repr(thing)) < 250, repr(thing)
        assert "tensor(" not in repr(thing) and "\n" not in repr(thing) and str(thing) == repr(thing)


def test_repr_tells_size_kind_and_shapes():
    graph = small_graph("conv")
    node = g.Conv("c", ("image",), torch.ones(2, 3, 1, 5, dtype=torch.float64), torch.zeros(2))
    assert "name='c', inputs=('image',), weight=<float64 (2, 3, 1, 5)>, bias=<float32 (2,)>, stride=(1, 1)" in repr(
        node
    )
    assert "None" in repr(g.Conv("c", ("image",)))
    count = sum(v.numel() for node in graph.nodes for v in vars(node).values() if isinstance(v, torch.Tensor))
    assert f"{len(graph.nodes)} nodes, {count} parameters (float64), 2 classes, strides [1], imgsz 64" in repr(graph)
    spiking = convert_graph(graph)[0]
    assert "real-valued, 4 levels, 2 layers of neurons" in repr(spiking) and "integer, 4" in repr(to_integer(spiking))
    assert "0 parameters (none)" in repr(g.Graph([g.Input("image", ())], ["cat"], [1], 1, 64))
