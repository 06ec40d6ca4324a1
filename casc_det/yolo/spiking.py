"""What `weights` of a model may be: a file, a name, a graph, or what `convert` gives."""

import os
from pathlib import Path

import torch

from casc_det.errors import ArgumentError
from casc_det.graph import Graph, SpikingGraph
from casc_det.graph.validate import validate
from casc_det.graph.zoo import load
from casc_det.yolo.convert import Conversion


def spiking_graph(weights: str | Path | SpikingGraph | Conversion | None) -> SpikingGraph:
    """The graph that `weights` stands for; None: the default weights.

    Raises:
        ArgumentError: it is of no such type. ConversionError: the graph cannot be computed exactly.
        WeightsError: there is no such file, or it holds no spiking graph.
    """
    if isinstance(weights, str | os.PathLike | None):
        return load(weights, torch.float64)
    graph = weights.graph if isinstance(weights, Conversion) else weights
    if isinstance(graph, SpikingGraph):
        validate(graph)
        return graph
    raise ArgumentError(
        "weights: expected a path, a name, a SpikingGraph or a Conversion, got "
        f"{type(weights).__name__}; {what_to_pass(weights)}"
    )


def what_to_pass(wrong: object) -> str:
    """What to pass in place of something that is no weights."""
    if isinstance(getattr(wrong, "graph", None), SpikingGraph):  # a SpikingYOLO
        return "pass its .graph"
    if isinstance(wrong, Graph):
        return "it is captured, not converted yet: pass casc_det.convert(model) of its network"
    if isinstance(wrong, torch.nn.Module) or type(wrong).__name__ == "YOLO":
        return "it is a network of floats: pass casc_det.convert(model)"
    return "pass what casc_det.convert(model) or casc_det.load(path) gives"
