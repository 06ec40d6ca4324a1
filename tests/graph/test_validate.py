"""What a graph must be before it is computed: each rule is broken once, and what is let through is exact."""

import math
import random
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from conftest import simulate
from fuzz import one
from fuzz_models import BLOCKS, Kind, change_header, compare, small_detector

from casc_det import graph as g
from casc_det.api import SpikingYOLO
from casc_det.errors import ConversionError
from casc_det.graph.extent import Extent
from casc_det.graph.file import load_graph, save_graph
from casc_det.graph.validate import check_structure, validate
from casc_det.graph.zoo import find
from casc_det.simulation.twin import ann_forward

WHOLE, REAL = small_detector(*BLOCKS[:8]), small_detector(*BLOCKS, integer=False)


def edit(graph, which, /, **changes) -> g.SpikingGraph:
    """The graph with other fields in its first node of a kind."""
    chosen = graph.of_type(which)[0]
    changed = lambda node: replace(node, **changes) if node.name == chosen.name else node
    return replace(graph, nodes=[changed(node) for node in graph.nodes])


def insert(graph, node, readers=True) -> g.SpikingGraph:
    """The graph with a node behind what it reads first; with `readers` it stands in for that from there on."""
    at = next(i for i, other in enumerate(graph.nodes) if other.name == node.inputs[0]) + 1
    renamed = lambda other: replace(
        other, inputs=tuple(node.name if name == node.inputs[0] and readers else name for name in other.inputs)
    )
    return replace(graph, nodes=[*graph.nodes[:at], node, *map(renamed, graph.nodes[at:])])


def spoiled(kind, key, value, at=(0,)):
    """An edit that puts one value into a tensor of the first node of a kind."""

    def spoil(graph):
        tensor = getattr(graph.of_type(kind)[0], key).clone()
        tensor[at] = value
        return edit(graph, kind, **{key: tensor})

    return spoil


def conv(name, source, out, inner):
    return g.Conv(name, (source,), torch.ones(out, inner, 1, 1), torch.zeros(out))


NEURON = WHOLE.of_type(g.Neuron)[0].name
BROKEN = {
    "a batch normalisation": (REAL, lambda x: insert(x, g.BatchNorm("bn", (NEURON,))), "does not belong"),
    "a second input": (REAL, lambda x: replace(x, nodes=[*x.nodes, g.Input("other", ())]), "second input"),
    "neurons behind neurons": (REAL, lambda x: insert(x, g.Neuron("n", (NEURON,), levels=4)), "expected a convolution"),
    "other levels": (REAL, lambda x: edit(x, g.Neuron, levels=5), "levels=5, the graph 4"),
    "a readout that is read": (REAL, lambda x: insert(x, g.Upsample("up", ("boxes0",)), False), "readout is an output"),
    "no scale": (WHOLE, lambda x: edit(x, g.Readout, scale=None), "lacks its scale"),
    "a scale of its own": (REAL, lambda x: edit(x, g.Readout, scale=torch.ones(16, 1, 1)), "only an integer graph"),
    "theta per layer": (WHOLE, lambda x: edit(x, g.Neuron, theta=5.0), "an integer for each channel"),
    "a mean": (WHOLE, lambda x: edit(x, g.AvgPool, divisor=9), "expected 1"),
    "sigmoid of integers": (
        WHOLE, lambda x: insert(x, g.Pointwise("f", (NEURON,), "sigmoid", torch.ones(8, 1, 1))), "no op on integers",
    ),
    "a convolution read twice": (
        WHOLE, lambda x: insert(x, g.Upsample("up", (x.of_type(g.Conv)[0].name,)), False), "and nothing else",
    ),
    "groups": (WHOLE, lambda x: edit(x, g.Conv, groups=3), "in 3 groups and reads 3"),
    "a slice too long": (WHOLE, lambda x: edit(x, g.Slice, stop=9), "takes channels 0 to 9 of 8"),
    "an empty slice": (WHOLE, lambda x: edit(x, g.Slice, stop=0), "takes channels 0 to 0"),
    "add of other channels": (
        WHOLE, lambda x: insert(x, g.Add("sum", (NEURON, "image")), False), "adds maps of 8 and 3 channels",
    ),
    "theta of other channels": (
        WHOLE, lambda x: edit(x, g.Neuron, theta=torch.ones(7, 1, 1)), "theta of 7 channels and reads 8",
    ),
    "bins": (WHOLE, lambda x: replace(x, reg_max=5), "expected 20, 4 \\* reg_max"),
    "class names": (WHOLE, lambda x: replace(x, names=["cat"]), "expected 1, the number of class names"),
    "a level too few": (WHOLE, lambda x: replace(x, strides=[8]), "boxes and scores of each of its 1 strides"),
    "other strides": (WHOLE, lambda x: replace(x, strides=[4, 16]), "strides say"),
    "levels swapped": (WHOLE, lambda x: edit(x, g.Readout, level=1), "name and these must agree"),
    "a map cut": (WHOLE, lambda x: edit(x, g.MaxPool, padding=(0, 0)), "leaves nothing of the map"),
    "a pool of padding": (WHOLE, lambda x: edit(x, g.MaxPool, padding=(2, 2)), "hold padding only"),
    "a stride that does not fit": (WHOLE, lambda x: edit(x, g.Conv, stride=(3, 3)), "does not divide"),
    "a side of nothing": (WHOLE, lambda x: edit(x, g.Conv, dilation=(9, 9)), "leaves nothing"),
    "a map without end": (
        replace(REAL, imgsz=8192), lambda x: insert(x, g.Upsample("up", (NEURON,), (64, 64))), "memory and time",
    ),
    "NaN": (REAL, spoiled(g.Conv, "weight", math.nan), "weight that are not finite"),
    "infinity": (REAL, spoiled(g.Conv, "bias", math.inf), "bias that are not finite"),
    "theta 0": (WHOLE, spoiled(g.Neuron, "theta", 0), "not above 0"),
    "theta 1.5": (WHOLE, spoiled(g.Neuron, "theta", 1.5), "no integers"),
    "bias 0.5": (WHOLE, spoiled(g.Conv, "bias", 0.5), "no integers"),
    "weight 0.5": (WHOLE, spoiled(g.Conv, "weight", 0.5), "no integers of 8 bits"),
    "weight 128": (WHOLE, spoiled(g.Conv, "weight", 128), "no integers of 8 bits"),
    "a bias beyond 2^24": (WHOLE, spoiled(g.Conv, "bias", 2**24), "not below 2\\^24"),
    "a real weight beyond all measure": (REAL, spoiled(g.Conv, "weight", 1e9), "2\\^24 thresholds"),
    "a scale beyond all measure": (WHOLE, spoiled(g.Readout, "scale", 1e6), "beyond 2\\^24"),
    "meta": (WHOLE, lambda x: replace(x, meta={"a": {1, 2}}), "JSON values"),
    "meta that is no text": (WHOLE, lambda x: replace(x, meta={"architecture": {"a": 1}}), "architecture"),
}  # fmt: skip


@pytest.mark.parametrize(("graph", "change", "words"), BROKEN.values(), ids=BROKEN)
def test_broken_graph_is_refused_in_one_line_that_names_the_place(graph, change, words, tmp_path):
    broken = change(graph)
    for use in (validate, SpikingYOLO, lambda x: save_graph(x, tmp_path / "m.safetensors")):
        with pytest.raises(ConversionError, match=words) as caught:
            use(broken)
        assert "\n" not in str(caught.value) and str(caught.value).startswith("graph: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["NaN", "theta 1.5", "other levels", "groups", "theta per layer"])
def test_simulation_refuses_what_it_cannot_compute(key):
    graph, change, words = BROKEN[key]
    graph = change(graph)
    with pytest.raises(ConversionError, match=words):
        simulate(graph, torch.zeros(1, 3, 8, 8, dtype=graph.dtype), 1)


def test_graphs_and_nodes_are_frozen_and_an_edited_one_is_another():
    for thing, field in ((WHOLE, "levels"), (WHOLE.nodes[1], "stride")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, field, 4)
    other = edit(WHOLE, g.Neuron, lam=2.0)
    assert other != WHOLE and other.nodes[1] is WHOLE.nodes[1] and len({WHOLE, other}) == 2
    assert isinstance(WHOLE.nodes, tuple) and isinstance(edit(WHOLE, g.Neuron, lam=2.0).nodes, tuple)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (g.Conv, "stride", (0, 1)), (g.Conv, "stride", (1.0, 1)), (g.Conv, "stride", [1, 1]), (g.Conv, "stride", 1),
        (g.Conv, "padding", (-1, 0)), (g.Conv, "dilation", (True, 1)), (g.Conv, "groups", 0),
        (g.Neuron, "theta", math.nan), (g.Neuron, "theta", "1"), (g.Neuron, "lam", -1.0), (g.Neuron, "lam", 10**400),
        (g.Neuron, "levels", 65), (g.Neuron, "levels", True), (g.MaxPool, "ceil_mode", 1),
        (g.MaxPool, "kernel", (65, 1)), (g.Conv, "stride", (65, 1)), (g.Readout, "level", 0.0),
        (g.Upsample, "scale", (2**40, 1)), (g.Slice, "start", -1), (g.Readout, "kind", "masks"),
        (g.Input, "channels", 4),
    ],
)  # fmt: skip
def test_field_of_another_type_or_range_is_refused(kind, field, value):
    with pytest.raises(ConversionError, match=rf"\({kind.__name__}\) has {field}=.*, expected"):
        edit(WHOLE, kind, **{field: value})


@pytest.mark.parametrize(
    "change",
    [{"imgsz": 0}, {"imgsz": 640.0}, {"reg_max": True}, {"strides": []}, {"strides": (4, 8)}, {"strides": [4, 2**13]},
     {"names": []}, {"names": "cat"}, {"names": ["a", 1]}, {"names": ["\ud800"]}, {"levels": 65}, {"integer": 1}],
)  # fmt: skip
def test_setting_of_another_type_or_range_is_refused(change):
    with pytest.raises(ConversionError, match=f"it has {next(iter(change))}="):
        replace(WHOLE, **change)


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 257, 7, "\ud800", "\x1b[31m"])
def test_node_names_can_be_printed(name):
    with pytest.raises(ConversionError, match="is named"):
        edit(WHOLE, g.Upsample, name=name)


def test_structure_is_judged_without_values():
    """Nothing is allocated for a graph that is refused: shapes on the meta device are enough."""
    check_structure(replace(WHOLE, nodes=[g.on_meta(node) for node in WHOLE.nodes]))


@pytest.mark.parametrize("graph", [WHOLE, REAL], ids=["integer", "real"])
def test_sizes_are_those_of_torch(graph):
    """The proof for all sizes at once against the maps of the ANN: strides hold for every multiple, on both sides."""
    validate(graph)
    for height, width in ((8, 8), (16, 40), (56, 24)):
        readout = ann_forward(graph, torch.zeros(1, 3, height, width, dtype=graph.dtype)).readout
        for node in graph.of_type(g.Readout):
            stride = graph.strides[node.level]
            assert readout[node.name].shape[2:] == (height // stride, width // stride)


@pytest.mark.parametrize("ceil", [False, True])
def test_pools_of_every_geometry_are_sized_as_torch_sizes_them(ceil):
    for kernel, stride, padding, dilation in ((2, 2, 0, 1), (2, 2, 1, 1), (3, 2, 1, 1), (3, 2, 1, 2), (5, 4, 2, 1)):
        for offset in (0, 1, 3):
            node = g.MaxPool("p", ("x",), *((x, x) for x in (kernel, stride, padding, dilation)), ceil)
            extent = node.extent(Extent(8, offset), 0)
            for m in (1, 2, 5):
                size = 8 * m + offset
                shape = torch.nn.functional.max_pool2d(
                    torch.zeros(1, 1, size, size), kernel, stride, padding, dilation, ceil
                ).shape
                assert extent.at(m) == shape[2], node


@pytest.mark.parametrize("name", ["yolov8n-cq16", "yolov8n-cq16-float", "yolov8n-bccd-cq16", "yolov8n-cq8"])
def test_shipped_weights_are_valid(name):
    validate(load_graph(find(name)))


def test_mutated_files_are_refused_or_exact(tmp_path):
    """A slice of `tools/fuzz.py kind=models`."""
    kind = Kind(tmp_path)
    rows = [one(kind, 0, case, tmp_path) for case in range(250)]
    assert [row for row in rows if row["outcome"] not in ("answered", "refused")] == []
    assert sum(row["outcome"] == "answered" for row in rows) > 20


def test_the_fuzz_tool_sees_a_network_that_is_not_exact(monkeypatch):
    images = torch.randint(0, 256, (1, 3, 32, 32)).float() / 255
    assert compare(WHOLE, images, True)[0] == "answered"
    monkeypatch.setattr("fuzz_models.ann_forward", lambda graph, images: ann_forward(graph, images * 0.9))
    assert compare(WHOLE, images, True)[0] == "inexact"


def test_the_fuzz_tool_changes_what_it_says():
    header, chance = {"nodes": [{"name": "a", "inputs": ["b"], "stride": [1, 1]}], "levels": 4}, random.Random(0)
    seen = {
        change_header({**header, "nodes": [dict(header["nodes"][0])]}, chance).partition(" ")[0] for _ in range(200)
    }
    assert {"node", "nodes", "header:", "levels"} <= seen
