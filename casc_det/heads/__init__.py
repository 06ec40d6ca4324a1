"""What becomes of the readout: a head for each task, found by the kinds of maps that a network is read out in.

A head is made of a network, `Head.of(network)`, and gives `answers(readout, settings, of)`: one for each image. An
answer knows whether it is `unchanged` since an earlier one and whether it is `certain`: what `heads.policies` ask.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casc_det.graph import SpikingGraph
    from casc_det.heads.detect.decode import DetectHead

HEADS: dict[tuple[str, ...], str] = {  # kinds of readouts -> the head; imported when it is used, as it imports torch
    ("boxes", "scores"): "casc_det.heads.detect.decode.DetectHead",
}


def head_of(graph: "SpikingGraph") -> "DetectHead":
    """The head of a network; each graph that passed `graph.validate` has one."""
    from casc_det.graph import Readout

    kinds = {node.kind for node in graph.nodes if isinstance(node, Readout)}
    module, _, name = HEADS[tuple(sorted(kinds))].rpartition(".")
    return getattr(import_module(module), name).of(graph)
