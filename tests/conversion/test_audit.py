"""The audit: every op is listed, and what cannot be converted is refused with the way out."""

from dataclasses import replace

import pytest
import torch
from conftest import OPS, float_yolo, small_graph

from casc_det import graph as g
from casc_det.conversion.audit import EXACT, REFUSED, TEMPORAL, AuditError, AuditRow, audit, format_audit
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError
from casc_det.yolo.capture import capture


def edit(graph: g.Graph, name: str, **fields) -> g.Graph:
    """The graph with some fields of one node changed."""
    return replace(graph, nodes=[replace(node, **fields) if node.name == name else node for node in graph.nodes])


def insert(graph: g.Graph, node: g.Node) -> g.Graph:
    """The graph with one more node, just before the readouts' convolutions, which then read it."""
    heads = [n for n in graph.nodes if isinstance(n, g.Conv)][-2:]
    at = graph.nodes.index(heads[0])
    behind = [replace(n, inputs=(node.name,)) if n in heads else n for n in graph.nodes[at:]]
    return replace(graph, nodes=[*graph.nodes[:at], replace(node, inputs=heads[0].inputs), *behind])


def test_audit_lists_every_node_in_order():
    graph = small_graph(*OPS)
    spiking, rows = convert_graph(graph)
    assert [row.name for row in rows] == [node.name for node in graph.nodes]
    assert rows == audit(graph)
    assert {row.status for row in rows} == {EXACT, TEMPORAL}
    assert [row.op for row in rows if row.status == TEMPORAL] == ["sigmoid"]
    assert len(spiking.of_type(g.Neuron)) == len(graph.of_type(g.Activation))
    assert {node.theta for node in spiking.of_type(g.Neuron)} == {1.0}


def test_format_audit_counts_every_row():
    rows = audit(small_graph(*OPS))
    table = format_audit(rows).splitlines()
    assert sum(int(line.split(" x ")[0]) for line in table) == len(rows)
    several = [AuditRow(f"a{i}", "SiLU", REFUSED, "none") for i in range(57)]
    (line,) = format_audit(several).splitlines()
    assert line.split() == ["57", "x", "SiLU", "refused", "none", "[a0,", "a1,", "a2,", "...]"]
    assert [line for line in table if TEMPORAL in line and "sigmoid" in line and line.endswith("]")]


def test_addition_of_different_clips_is_refused_with_the_remedy():
    graph = small_graph("add")
    add = graph.of_type(g.Add)[0]
    graph = edit(graph, add.inputs[1], lam=2.5)
    with pytest.raises(AuditError, match=f"op '{add.name}' .Add. cannot .*must share one clip lam$") as caught:
        convert_graph(graph)
    assert [row.name for row in caught.value.audit if row.status == REFUSED] == [add.name]


def test_unsupported_op_raises_with_the_whole_audit():
    graph = small_graph("conv", "max")
    graph = insert(graph, g.Unsupported("attention", (), "function matmul", "replace it"))
    with pytest.raises(AuditError, match="op 'attention' .function matmul. cannot be converted: replace it$") as caught:
        convert_graph(graph)
    rows = caught.value.audit
    assert [row.name for row in rows] == [node.name for node in graph.nodes]
    assert [row.op for row in rows if row.status == REFUSED] == ["function matmul"]


def test_every_refused_op_is_counted():
    graph = small_graph("add")
    graph = edit(graph, graph.of_type(g.Add)[0].inputs[1], lam=2.5)
    graph = insert(graph, g.Unsupported("attention", (), "function matmul", "replace it"))
    with pytest.raises(AuditError, match=r"\(and 1 more refused ops, see the audit\)$"):
        convert_graph(graph)


def test_activation_without_convolution_is_refused():
    graph = insert(small_graph("max"), g.Activation("late", (), 1.0, 4))
    with pytest.raises(AuditError, match="'late' .*must follow a convolution"):
        convert_graph(graph)


@pytest.mark.parametrize("kind", [g.Activation, g.BatchNorm])
def test_convolution_that_is_also_used_directly_is_refused(kind):
    graph = small_graph("norm")
    source = graph.of_type(kind)[-1].inputs[0]
    graph = replace(graph, nodes=[*graph.nodes, g.Readout("boxes1", (source,), "boxes", 1)])
    with pytest.raises(AuditError, match="give each use a convolution of its own"):
        convert_graph(graph)


def test_mixed_levels_are_refused():
    graph = small_graph("conv")
    graph = edit(graph, graph.of_type(g.Activation)[-1].name, levels=8)
    with pytest.raises(ConversionError, match=r"all sites must have the same levels, got \[4, 8\]"):
        convert_graph(graph)


def test_network_without_cqrelu_is_refused():
    weight, bias = torch.ones(4, 3, 1, 1), torch.zeros(4)
    nodes = [g.Input("image", ()), g.Conv("conv", ("image",), weight, bias), g.Readout("boxes0", ("conv",))]
    with pytest.raises(ConversionError, match="no CQ activation.*train it first: casc-det train"):
        convert_graph(g.Graph(nodes, ["thing"], [1], 1, 64))


def test_silu_model_is_refused_with_the_remedy():
    with pytest.raises(AuditError, match="activation SiLU.*convert ... data=images/ levels=32, or train") as caught:
        convert_graph(capture(float_yolo("yolov8n")))
    refused = [row for row in caught.value.audit if row.status == REFUSED]
    assert len(refused) == 57 and {row.op for row in refused} == {"activation SiLU"}
