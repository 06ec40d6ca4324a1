"""Whether a spiking graph can be computed, and computed exactly: looked at once, before anything is allocated for it.

`check_simulation` holds for every graph that is simulated: how nodes are wired, channels, values, and that sums stay
so small that they are exact. `validate` adds what makes the graph a detector: its readouts, the sizes of its maps and
the memory they take. The types and ranges of single fields are checked where the graph is made (`graph.fields`).

Sizes are proved for every image at once, see `graph.extent`.
"""

import json
import math
from typing import Any

import torch

from casc_det import graph as g
from casc_det.base.arguments import shown
from casc_det.errors import ConversionError
from casc_det.graph.bounds import EXACT_BELOW, proved_range, real_range
from casc_det.graph.extent import Extent
from casc_det.graph.fields import MOST_CHANNELS, is_text
from casc_det.graph.ops.readout import KINDS

MOST_MAP = 2**28  # values of the largest map at imgsz
MOST_MAPS = 2**32  # of all maps together
MOST_CHANNELS_TOGETHER = 2**22
MOST_PARAMETERS = 2**30
MOST_WORK = 2**43  # multiplications and comparisons of one ANN pass at imgsz
LONGEST_META = 2**20  # characters of its JSON
CAPTURED = (g.Spiking.CONVERSION, g.Spiking.REFUSED)  # ops of captured graphs alone


def validate(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a graph is no spiking detector that can be computed exactly."""
    check_structure(graph)
    check_values(graph)


def check_structure(graph: g.SpikingGraph) -> None:
    """The part of `validate` that looks at no value of a tensor, so that they may be on the meta device."""
    if not isinstance(graph, g.SpikingGraph):
        raise ConversionError(f"graph: expected a SpikingGraph, got {shown(type(graph).__name__)}")
    check_meta(graph.meta)
    check_wiring(graph)
    check_readouts(graph, channels(graph))
    check_sizes(graph)


def check_simulation(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a graph cannot be simulated exactly.

    Values are looked at, too, but on the meta device; that is most of the work, once for each weight.
    """
    check_wiring(graph)
    channels(graph)
    if graph.device.type != "meta":
        check_values(graph if graph.device.type == "cpu" else g.moved(graph, graph.dtype))


def check_meta(meta: Any) -> None:
    """Raise ConversionError where the provenance is no dictionary of JSON values, or too long."""
    try:
        text = json.dumps(meta, allow_nan=False, ensure_ascii=False) if isinstance(meta, dict) else ""
        text.encode()
    except (TypeError, ValueError, RecursionError):
        text = ""
    if not 0 < len(text) <= LONGEST_META:
        raise ConversionError("graph: expected meta as a dictionary of JSON values of at most one million characters")
    architecture = meta.get("architecture", "")
    if not is_text(architecture) or len(architecture) > 1000:
        raise ConversionError(f"graph: expected meta['architecture'] as a short text, got {shown(architecture)}")


def check_wiring(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where nodes are of a kind, or read each other in a way, that no engine knows."""
    for node, place in graph.places():
        if node.spiking in CAPTURED:
            node.refuse("does not belong into a spiking graph; convert the network again")
        if missing := g.lacking(type(node)):
            node.refuse(f"is of an op that lacks rules ({', '.join(missing)}); see casc_det.graph.node")
        if isinstance(node, g.Input) and node is not graph.nodes[0]:
            node.refuse("is a second input; a detector has one")
        node.check_place(place, graph.levels, graph.integer)
    for kind in (g.Neuron, g.Readout):
        if not graph.of_type(kind):
            raise ConversionError(f"graph: it has no {kind.__name__}, so there is nothing to simulate")


def channels(graph: g.SpikingGraph) -> dict[str, int]:
    """The number of channels of each map; ConversionError where a node does not fit what it reads."""

    def count(node: g.Node, *parts: int) -> int:
        result = node.out_channels(parts)
        for key, value in g.tensors(node).items():
            if key in ("theta", "scale") and len(value) != parts[0]:
                node.refuse(f"has {key} of {len(value)} channels and reads {parts[0]}")
        if not 0 < result <= MOST_CHANNELS:
            node.refuse(f"has {result} channels, expected 1 to {MOST_CHANNELS}")
        return result

    counts = g.walk(graph, {}, count, keep=True)
    if sum(counts.values()) > MOST_CHANNELS_TOGETHER:
        raise ConversionError(f"graph: its maps have more than {MOST_CHANNELS_TOGETHER} channels together")
    parameters = sum(value.numel() for node in graph.nodes for value in g.tensors(node).values())
    if parameters > MOST_PARAMETERS:
        raise ConversionError(f"graph: it has {parameters} parameters, expected at most {MOST_PARAMETERS}")
    return counts


def check_readouts(graph: g.SpikingGraph, counts: dict[str, int]) -> None:
    """Raise ConversionError unless each level has the readouts of the task, of the right number of channels, once."""
    expected = [kind for kind in KINDS if KINDS[kind].task == graph.task]
    wanted = {f"{kind}{level}" for level in range(len(graph.strides)) for kind in expected}
    found = {node.name for node in graph.of_type(g.Readout)}
    if found != wanted:
        raise ConversionError(
            f"graph: its readouts are {shown(sorted(found))}, expected {' and '.join(expected)} of each of its "
            f"{len(graph.strides)} strides, named {', '.join(f'{kind}0' for kind in expected)}, ..."
        )
    for node in graph.of_type(g.Readout):
        if node.name != f"{node.kind}{node.level}":
            node.refuse(f"is of kind {node.kind} and level {node.level}; name and these must agree")
        if counts[node.name] != (needed := KINDS[node.kind].channels(graph)):
            node.refuse(f"has {counts[node.name]} channels, expected {needed}, {KINDS[node.kind].words}")


def check_sizes(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where maps do not fit together, or to `strides`, or take too much memory."""
    largest = max(graph.strides)
    counts, steps = channels(graph), math.ceil(graph.imgsz / largest)
    total = work = 0

    def size(node: g.Node, *parts: tuple[Extent, Extent]) -> tuple[Extent, Extent]:
        nonlocal total, work
        before = parts[0] if parts else (Extent(largest, 0),) * 2
        if any(part != before for part in parts):
            node.refuse(f"joins maps of different sizes, {' and '.join(_sizes(part) for part in parts[:2])}")
        extent = (node.extent(before[0], 0), node.extent(before[1], 1))
        if isinstance(node, g.Readout):
            stride = graph.strides[node.level]
            if largest % stride or extent != (Extent(largest // stride, 0),) * 2:
                node.refuse(f"has maps of {_sizes(extent)} for images of {largest}m; strides say {stride}")
        values = counts[node.name] * extent[0].at(steps) * extent[1].at(steps)
        total += values
        work += values * node.work()
        if values > MOST_MAP or total > MOST_MAPS or work > MOST_WORK:
            node.refuse(f"takes the network beyond what fits into memory and time at {graph.imgsz} pixels")
        return extent

    g.walk(graph, {}, size)


def _sizes(extent: tuple[Extent, Extent]) -> str:
    return " x ".join(str(part) for part in extent)


def check_values(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a tensor holds what is no number, or where sums would not be exact."""
    for node in graph.nodes:
        for key, value in g.tensors(node).items():
            if not bool(torch.isfinite(value).all()):
                node.refuse(f"has values of {key} that are not finite (NaN or infinite)")
            if key in ("theta", "scale") and not bool((value > 0).all()):
                node.refuse(f"has values of {key} that are not above 0")
            if graph.integer and key in ("theta", "bias", "thresholds") and not torch.equal(value, value.round()):
                node.refuse(f"has values of {key} that are no integers")
        if isinstance(node, g.Neuron):
            node.check_table()
    bounds = proved_range(graph) if graph.integer else real_range(graph)
    for node in graph.of_type(g.Readout):
        scale = 1.0 if node.scale is None else float(node.scale.max())
        if float(bounds[node.inputs[0]]) * scale > EXACT_BELOW * graph.levels:
            node.refuse("may reach values beyond 2^24")
