"""The one walk over a graph that evaluates something: values of any kind, node by node.

The ANN twin, the engines, counting, conversion and bounds differ in what a value is and in the rules for some ops; all
others follow one rule, which mostly asks the node itself (`casc_det.graph.node`).
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from casc_det.graph.graph import Graph
from casc_det.graph.node import Node

Value = TypeVar("Value")
Rules = Mapping[type[Node], Callable[..., Value]]


def walk(graph: Graph, rules: Rules[Value], otherwise: Callable[..., Value], keep: bool = False) -> dict[str, Value]:
    """Evaluate the nodes of a graph in its order.

    Args:
        rules: by type of node, called with the node and the values of its inputs.
        otherwise: the rule of all other types.
        keep: give the values of all nodes; else a value is dropped after its last reader.

    Returns:
        By name of node the values that nothing reads, such as those of the readouts, or all.
    """
    last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
    values: dict[str, Value] = {}
    for node in graph.nodes:
        rule = rules.get(type(node), otherwise)
        values[node.name] = rule(node, *(values[name] for name in node.inputs))
        for name in () if keep else set(node.inputs):
            if last_reader[name] == node.name:
                del values[name]
    return values
