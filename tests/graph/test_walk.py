"""The one walk: rules by type, every other op by one rule, values dropped after their last reader."""

import weakref

import pytest
import torch
from conftest import OPS, small_graph, small_images

from casc_det import graph as g
from casc_det.errors import ConversionError

DIAMOND = g.Graph(
    [
        g.Input("image", ()),
        g.Upsample("up", ("image",)),
        g.Add("twice", ("up", "up")),
        g.Concat("all", ("up", "twice")),
        g.Slice("unread", ("image",), 0, 1),
    ],
    ["thing"], [1], 1, 64,
)  # fmt: skip


class Value:
    """Something that can be watched."""


def test_nodes_come_in_order_with_the_values_of_their_inputs():
    seen = []

    def note(node: g.Node, *inputs: str) -> str:
        seen.append((node.name, inputs))
        return node.name.upper()

    left = g.walk(DIAMOND, {g.Add: lambda node, a, b: note(node, a, b) + "!"}, note)
    assert seen == [
        ("image", ()), ("up", ("IMAGE",)), ("twice", ("UP", "UP")), ("all", ("UP", "TWICE!")), ("unread", ("IMAGE",)),
    ]  # fmt: skip
    assert left == {"all": "ALL", "unread": "UNREAD"}
    assert g.walk(DIAMOND, {}, note, keep=True).keys() == {node.name for node in DIAMOND.nodes}


@pytest.mark.parametrize("keep", [False, True])
def test_a_value_goes_after_its_last_reader(keep):
    living: dict[str, weakref.ref] = {}
    kept = {"up": ["image"], "twice": ["image", "up"], "all": ["image", "up", "twice"], "unread": ["image", "all"]}

    def watch(node: g.Node, *inputs: Value) -> Value:
        found = [name for name, value in living.items() if value() is not None]
        assert found == ([n.name for n in DIAMOND.nodes][: len(living)] if keep else kept.get(node.name, []))
        value = Value()
        living[node.name] = weakref.ref(value)
        return value

    assert len(g.walk(DIAMOND, {}, watch, keep)) == (5 if keep else 2)


def test_the_readouts_are_what_is_left_of_a_detector():
    graph, x = small_graph(*OPS), small_images()
    rules = {
        g.Input: lambda node: x,
        g.Conv: lambda node, x: node.compute(x),
        **dict.fromkeys((g.BatchNorm, g.Activation, g.Readout), lambda node, x: x),
    }
    found = g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs))
    assert found.keys() == {"boxes0", "scores0"} and all(isinstance(y, torch.Tensor) for y in found.values())


def test_a_rule_that_is_missing_names_the_node():
    with pytest.raises(ConversionError, match=r"node 'image' \(Input\) has no rule 'compute'"):
        g.walk(DIAMOND, {}, lambda node, *inputs: node.compute(torch.zeros(1), *inputs))
