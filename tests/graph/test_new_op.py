"""An op that nobody knows: with all its rules it is converted and simulated, without one it is refused before that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from conftest import simulate, small_graph, small_images
from torch.nn import functional as F

from casc_det import graph as g
from casc_det.conversion.audit import REFUSED, TEMPORAL, AuditError, audit
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError
from casc_det.graph.file import load_graph, save_graph
from casc_det.graph.node import Elementwise, Moving
from casc_det.graph.validate import check_wiring
from casc_det.simulation.twin import ann_forward


@dataclass(frozen=True, eq=False, repr=False)
class Leaky(Elementwise):
    """y = max(x, x / 8): a positive amplitude passes through it."""

    spiking = g.Spiking.TEMPORAL
    graded = True
    note = "f(sum at t) - f(sum at t-1); graded, not spikes"

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, x / 8)

    def amplitude(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0]

    bound = amplitude


@dataclass(frozen=True, eq=False, repr=False)
class Flip(Moving):
    """Channels in reverse order."""

    def compute(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return x.flip(1)

    def moved(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return parts[0].flip(0)

    def out_channels(self, parts: Sequence[int]) -> int:
        return parts[0]

    def extent(self, before, axis: int):
        return before


def with_op(kind: type[g.Node], *ops: str) -> g.Graph:
    """A captured network in which an op stands between the first neurons and their readers."""
    graph = small_graph(*(ops or ("conv", "max")))
    at, source = 3, graph.nodes[2].name
    renamed = [replace(n, inputs=tuple("new" if i == source else i for i in n.inputs)) for n in graph.nodes[at:]]
    return replace(graph, nodes=[*graph.nodes[:at], kind("new", (source,)), *renamed])


@pytest.mark.parametrize("kind", [Leaky, Flip])
def test_an_op_with_all_its_rules_is_converted_and_rests_at_the_ann(kind):
    graph, images = with_op(kind), small_images()
    spiking, rows = convert_graph(graph)
    (row,) = (row for row in rows if row.name == "new")
    assert row.op == kind.__name__ and (row.status == TEMPORAL) == kind.graded and row.note == kind.note
    conv, site = graph.nodes[1:3]
    x = F.conv2d(images, conv.weight, conv.bias, conv.stride, conv.padding)
    x = site.lam / site.levels * torch.floor(site.levels * x / site.lam + 0.5).clamp(0, site.levels)
    ann, (real,) = ann_forward(spiking, images), spiking.of_type(kind)
    reader = next(node for node in graph.nodes if node.inputs == ("new",))
    expected = F.conv2d(kind.compute(real, x), reader.weight, reader.bias, reader.stride, reader.padding)
    site = next(node for node in graph.nodes if node.inputs == (reader.name,))
    counts = torch.floor(site.levels * expected / site.lam + 0.5).clamp(0, site.levels)
    assert torch.equal(ann.counts[site.name], counts)
    fast, reference = (list(simulate(spiking, images, engine=engine)) for engine in ("fast", "reference"))
    for a, b in zip(fast, reference, strict=True):
        assert torch.equal(a.fired, b.fired) and torch.equal(a.sops_by_layer, b.sops_by_layer)
        assert all(torch.equal(y, b.readout[name]) for name, y in a.readout.items())
    for last in (fast[-1], reference[-1]):
        assert last.quiescent.all() and all(torch.equal(last.counts[name], n) for name, n in ann.counts.items())


def test_an_op_on_integers_is_rounded_and_kept_in_the_file(tmp_path, monkeypatch):
    with pytest.raises(ConversionError, match="'new' .Leaky. is no op on integers"):
        to_integer(convert_graph(with_op(Leaky))[0])
    graph, images = to_integer(convert_graph(with_op(Flip))[0]), small_images().float()
    *_, last = simulate(graph, images)
    assert all(torch.equal(last.counts[name], n) for name, n in ann_forward(graph, images).counts.items())
    monkeypatch.setitem(g.NODE_TYPES, "Flip", Flip)
    graph = to_integer(convert_graph(with_op(Flip, "groups"))[0])
    loaded = load_graph(save_graph(graph, tmp_path / "m.safetensors"))
    assert [type(node) for node in loaded.nodes] == [type(node) for node in graph.nodes]


@pytest.mark.parametrize("rule", ["compute", "out_channels", "extent", "amplitude", "unit", "bound", "spiking"])
def test_an_op_that_lacks_a_rule_is_refused_by_the_audit(rule):
    kind = type("Odd", (Flip,), {rule: getattr(g.Node, rule)})
    assert g.lacking(kind) == [rule]
    graph = with_op(kind)
    assert [(row.name, row.status) for row in audit(graph) if row.status == REFUSED] == [("new", REFUSED)]
    with pytest.raises(AuditError, match=f"op 'new' .Odd. cannot be converted: the op lacks rules .{rule}.; give"):
        convert_graph(graph)
    spiking = convert_graph(with_op(Flip))[0]
    (known,) = spiking.of_type(Flip)
    odd = replace(spiking, nodes=[kind("new", n.inputs) if n is known else n for n in spiking.nodes])
    for use in (check_wiring, lambda x: simulate(x, small_images(), 1)):
        with pytest.raises(ConversionError, match=f"^graph: node 'new' .Odd. is of an op that lacks rules .{rule}."):
            use(odd)
