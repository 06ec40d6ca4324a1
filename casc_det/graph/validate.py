"""Whether a spiking graph can be computed, and computed exactly: looked at once, before anything is allocated for it.

`check_simulation` holds for every graph that is simulated: how nodes are wired, channels, values, and that sums stay
so small that they are exact. `validate` adds what makes the graph a detector: its readouts, the sizes of its maps and
the memory they take. The types and ranges of single fields are checked where the graph is made (`graph.fields`).

Sizes are proved for every picture at once. With pictures of S*m pixels, S the largest stride, the rows (and columns) of
each map are a*m + c: a convolution or pool of stride s needs a divisible by s and makes (a/s)*m + c' of it.
"""

import json
import math
import weakref
from typing import NamedTuple

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError
from casc_det.graph.bounds import EXACT_BELOW, proved_range
from casc_det.graph.fields import MOST_CHANNELS, is_text, shown

MOST_MAP = 2**28  # values of the largest map at imgsz
MOST_MAPS = 2**32  # of all maps together
MOST_CHANNELS_TOGETHER = 2**22
MOST_PARAMETERS = 2**30
MOST_WORK = 2**43  # multiplications and comparisons of one ANN pass at imgsz
LONGEST_META = 2**20  # characters of its JSON
SPIKING = tuple(kind for kind in g.NODE_TYPES.values() if kind not in (g.BatchNorm, g.Activation, g.Unsupported))


def _refuse(node: g.Node, problem: str):
    raise ConversionError(f"graph: node '{node.name}' ({type(node).__name__}) {problem}")


def validate(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a graph is no spiking detector that can be computed exactly."""
    check_structure(graph)
    check_values(graph)


def check_structure(graph: g.SpikingGraph) -> None:
    """The part of `validate` that looks at no value of a tensor, so that they may be on the meta device."""
    if not isinstance(graph, g.SpikingGraph):
        raise ConversionError(f"graph: expected a SpikingGraph, got {shown(type(graph).__name__)}")
    graph.__post_init__()  # nodes can be changed since it was made
    check_meta(graph.meta)
    check_wiring(graph)
    check_readouts(graph, channels(graph))
    check_sizes(graph)


_checked: dict[int, list] = {}


def check_simulation(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a graph cannot be simulated exactly; once, and again where it was changed."""
    content = g.contents(graph) if graph.device.type != "meta" else None
    if content is not None and _checked.get(id(graph)) == content:
        return
    graph.__post_init__()
    check_wiring(graph)
    channels(graph)
    if content is None:
        return
    check_values(graph if graph.device.type == "cpu" else g.moved(graph, graph.dtype))
    if id(graph) not in _checked:
        weakref.finalize(graph, _checked.pop, id(graph), None)
    _checked[id(graph)] = content


def check_meta(meta) -> None:
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
    nodes, readers = {node.name: node for node in graph.nodes}, graph.consumers()
    for node in graph.nodes:
        if not isinstance(node, SPIKING):
            _refuse(node, "does not belong into a spiking graph; convert the network again")
        if isinstance(node, g.Input) and node is not graph.nodes[0]:
            _refuse(node, "is a second input; a detector has one")
        if isinstance(node, g.Neuron):
            if not isinstance(nodes[node.inputs[0]], g.Conv):
                _refuse(node, f"reads '{node.inputs[0]}', expected a convolution")
            if node.levels != graph.levels:
                _refuse(node, f"has levels={node.levels}, the graph {graph.levels}; they must be equal")
        if isinstance(node, g.Readout) and readers[node.name]:
            _refuse(node, f"is read by '{readers[node.name][0].name}'; a readout is an output")
        if isinstance(node, g.Pointwise) and node.scale is None:
            _refuse(node, "lacks its scale")
        if graph.integer:
            _check_integer_node(node, readers)
        elif isinstance(node, g.Readout) and node.scale is not None:
            _refuse(node, "has a scale, which only an integer graph has")
    for kind in (g.Neuron, g.Readout):
        if not graph.of_type(kind):
            raise ConversionError(f"graph: it has no {kind.__name__}, so there is nothing to simulate")


def _check_integer_node(node: g.Node, readers: dict[str, list[g.Node]]) -> None:
    kinds = [type(reader) for reader in readers[node.name]]
    if isinstance(node, g.Pointwise):
        _refuse(node, "is no op on integers")
    if isinstance(node, g.Conv) and kinds not in ([g.Neuron], [g.Readout]):
        _refuse(node, "of an integer graph must drive one layer of neurons or one readout, and nothing else")
    if isinstance(node, g.AvgPool) and node.divisor != 1:
        _refuse(node, f"has divisor={node.divisor}, expected 1: in an integer graph it adds up")
    if isinstance(node, g.Neuron) and not isinstance(node.theta, torch.Tensor):
        _refuse(node, f"has theta={node.theta}, expected an integer for each channel")
    if isinstance(node, g.Readout) and node.scale is None:
        _refuse(node, "lacks its scale")


def channels(graph: g.SpikingGraph) -> dict[str, int]:
    """The number of channels of each map; ConversionError where a node does not fit what it reads."""
    result: dict[str, int] = {}
    for node in graph.nodes:
        parts = [result[name] for name in node.inputs]
        result[node.name] = _channels(node, parts)
        for key, value in g.tensors(node).items():
            if key in ("theta", "scale") and len(value) != parts[0]:
                _refuse(node, f"has {key} of {len(value)} channels and reads {parts[0]}")
        if not 0 < result[node.name] <= MOST_CHANNELS:
            _refuse(node, f"has {result[node.name]} channels, expected 1 to {MOST_CHANNELS}")
    if sum(result.values()) > MOST_CHANNELS_TOGETHER:
        raise ConversionError(f"graph: its maps have more than {MOST_CHANNELS_TOGETHER} channels together")
    parameters = sum(value.numel() for node in graph.nodes for value in g.tensors(node).values())
    if parameters > MOST_PARAMETERS:
        raise ConversionError(f"graph: it has {parameters} parameters, expected at most {MOST_PARAMETERS}")
    return result


def _channels(node: g.Node, parts: list[int]) -> int:
    match node:
        case g.Input():
            return node.channels
        case g.Conv():
            out, inner = node.weight.shape[:2]
            if parts[0] != inner * node.groups or out % node.groups:
                _refuse(node, f"has weights of {out} x {inner} channels in {node.groups} groups and reads {parts[0]}")
            return out
        case g.Add() if parts[0] != parts[1]:
            _refuse(node, f"adds maps of {parts[0]} and {parts[1]} channels")
        case g.Concat():
            return sum(parts)
        case g.Slice():
            if not node.start < node.stop <= parts[0]:
                _refuse(node, f"takes channels {node.start} to {node.stop} of {parts[0]}")
            return node.stop - node.start
    return parts[0]


def check_readouts(graph: g.SpikingGraph, counts: dict[str, int]) -> None:
    """Raise ConversionError unless every level has boxes and scores of the right number of channels, once."""
    expected = {"boxes": 4 * graph.reg_max, "scores": len(graph.names)}
    wanted = {f"{kind}{level}" for level in range(len(graph.strides)) for kind in expected}
    found = {node.name for node in graph.of_type(g.Readout)}
    if found != wanted:
        raise ConversionError(
            f"graph: its readouts are {shown(sorted(found))}, expected boxes and scores of each of its "
            f"{len(graph.strides)} strides, named boxes0, scores0, ..."
        )
    for node in graph.of_type(g.Readout):
        if node.name != f"{node.kind}{node.level}":
            _refuse(node, f"is of kind {node.kind} and level {node.level}; name and these must agree")
        if counts[node.name] != expected[node.kind]:
            what = "4 * reg_max" if node.kind == "boxes" else "the number of class names"
            _refuse(node, f"has {counts[node.name]} channels, expected {expected[node.kind]}, {what}")


class Extent(NamedTuple):
    """Rows or columns of a map, slope * m + offset for pictures of S*m pixels, m = 1, 2, ..."""

    slope: int
    offset: int

    def __str__(self) -> str:
        return f"{self.slope}m{self.offset:+d}"

    def at(self, m: int) -> int:
        return self.slope * m + self.offset


def check_sizes(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where maps do not fit together, or to `strides`, or take too much memory."""
    largest = max(graph.strides)
    extents: dict[str, tuple[Extent, Extent]] = {}
    counts, steps = channels(graph), math.ceil(graph.imgsz / largest)
    total = work = 0
    for node in graph.nodes:
        parts = [extents[name] for name in node.inputs]
        if isinstance(node, g.Input):
            parts = [(Extent(largest, 0), Extent(largest, 0))]
        if any(part != parts[0] for part in parts):
            _refuse(node, f"joins maps of different sizes, {' and '.join(_sizes(part) for part in parts[:2])}")
        extent = tuple(_extent(node, parts[0][axis], axis) for axis in (0, 1))
        if isinstance(node, g.Readout):
            stride = graph.strides[node.level]
            if largest % stride or extent != (Extent(largest // stride, 0),) * 2:
                _refuse(node, f"has maps of {_sizes(extent)} for pictures of {largest}m; strides say {stride}")
        extents[node.name] = extent
        values = counts[node.name] * extent[0].at(steps) * extent[1].at(steps)
        total += values
        work += values * _work(node)
        if values > MOST_MAP or total > MOST_MAPS or work > MOST_WORK:
            _refuse(node, f"takes the network beyond what fits into memory and time at {graph.imgsz} pixels")


def _sizes(extent) -> str:
    return " x ".join(str(part) for part in extent)


def _work(node: g.Node) -> int:
    """Multiplications or comparisons for each value of its map."""
    if isinstance(node, g.Conv):
        return node.weight[0].numel()
    return math.prod(node.kernel) if isinstance(node, g.MaxPool | g.AvgPool) else 1


def _extent(node: g.Node, before: Extent, axis: int) -> Extent:
    """Rows (axis 0) or columns (1) of what a node makes of a map."""
    slope, offset = before
    match node:
        case g.Upsample():
            return Extent(slope * node.scale[axis], offset * node.scale[axis])
        case g.ZeroPad():
            return Extent(slope, offset + sum(node.padding[2:] if axis == 0 else node.padding[:2]))
        case g.Conv() | g.MaxPool() | g.AvgPool():
            pass
        case _:
            return before
    kernel = node.weight.shape[2 + axis] if isinstance(node, g.Conv) else node.kernel[axis]
    dilation = 1 if isinstance(node, g.AvgPool) else node.dilation[axis]
    stride, padding, reach = node.stride[axis], node.padding[axis], dilation * (kernel - 1) + 1
    if not isinstance(node, g.Conv) and (padding > kernel // 2 or before.at(1) < dilation):
        _refuse(node, f"has windows that hold padding only: kernel {kernel}, padding {padding}, dilation {dilation}")
    if slope % stride:
        _refuse(node, f"has stride {stride} on a map of {before}, which it does not divide")
    room = offset + 2 * padding - reach
    last = room // stride
    if getattr(node, "ceil_mode", False):
        last = -(-room // stride)
        last -= last * stride >= offset + padding  # a window that starts in the padding behind the map is left out
    after = Extent(slope // stride, last + 1)
    if after.at(1) < 1 or slope + room < 0:
        _refuse(node, f"leaves nothing of the map of a picture of one stride ({before} with kernel {reach})")
    return after


def check_values(graph: g.SpikingGraph) -> None:
    """Raise ConversionError where a tensor holds what is no number, or where sums would not be exact."""
    for node in graph.nodes:
        for key, value in g.tensors(node).items():
            if not bool(torch.isfinite(value).all()):
                _refuse(node, f"has values of {key} that are not finite (NaN or infinite)")
            if key in ("theta", "scale") and not bool((value > 0).all()):
                _refuse(node, f"has values of {key} that are not above 0")
            if graph.integer and key in ("theta", "bias") and not torch.equal(value, value.round()):
                _refuse(node, f"has values of {key} that are no integers")
    bounds = proved_range(graph).bounds if graph.integer else _magnitudes(graph)
    for node in graph.of_type(g.Readout):
        scale = 1.0 if node.scale is None else float(node.scale.max())
        if float(bounds[node.inputs[0]]) * scale > EXACT_BELOW * graph.levels:
            _refuse(node, "may reach values beyond 2^24")


def _magnitudes(graph: g.SpikingGraph) -> dict[str, float]:
    """The largest magnitude that the running sum of each signal of a real-valued graph can reach.

    Raises:
        ConversionError: it is 2^24 thresholds or more, where rounding may cost whole spikes.
    """
    levels = float(graph.levels)
    thetas = {node.inputs[0]: node.theta for node in graph.of_type(g.Neuron)}

    def reached(node: g.Conv, parts: list[torch.Tensor]) -> torch.Tensor:
        top = g.per_weight(node, {node.inputs[0]: parts[0]})
        total = (node.weight.double().abs() * top).flatten(1).sum(1) + levels * node.bias.double().abs()
        theta = torch.as_tensor(thetas.get(node.name, 1.0), dtype=torch.float64).flatten()
        if not bool((total < EXACT_BELOW * theta).all()):
            _refuse(node, "has sums that may reach 2^24 thresholds, where rounding costs spikes")
        return total

    rules = {
        g.Input: lambda node, parts: torch.full((node.channels,), levels, dtype=torch.float64),
        g.Conv: reached,
        g.Neuron: lambda node, parts: torch.full_like(parts[0], levels),
        g.Pointwise: lambda node, parts: torch.ones_like(parts[0]),
        g.Add: lambda node, parts: parts[0] + parts[1],
        g.AvgPool: lambda node, parts: parts[0] * math.prod(node.kernel) / (node.divisor or math.prod(node.kernel)),
    }
    return {name: float(value.max()) for name, value in g.per_channel(graph, rules).items()}
