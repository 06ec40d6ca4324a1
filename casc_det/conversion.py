"""Graph -> SpikingGraph: fold BatchNorm, balance thresholds, put neurons in place of CQReLU.

Every map has an amplitude per channel, so that real value = amplitude * (sum of the signal over time). A neuron with
clip `lam` sends spikes of amplitude lam/Q; the picture, injected Q times, has 1/Q. Balancing divides each
convolution's weights by the amplitude of what it drives, so that all thresholds are 1 (data-free, exact):

    U = W * amplitude_in / amplitude_out,    bias of one wake step = b / (Q * amplitude_out)

A convolution that drives no neuron (readout) gets amplitude 1/Q, so that its sum divided by Q is the real value.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from casc_det import __version__
from casc_det import graph as g
from casc_det.errors import ArgumentError, ConversionError, WeightsError
from casc_det.integer import to_integer
from casc_det.storage import load_graph, save_graph
from casc_det.zoo import find

EXACT, TEMPORAL, REFUSED = "exact", "temporal difference", "refused"


@dataclass(frozen=True)
class AuditRow:
    """How one op of the captured graph is carried over. `status` is "exact", "temporal difference" or "refused"."""

    name: str
    op: str
    status: str
    note: str = ""


class AuditError(ConversionError):
    """Some ops cannot be converted; `audit` lists all ops."""

    def __init__(self, message: str, audit: list[AuditRow]):
        super().__init__(message)
        self.audit = audit


NOTES = {
    g.Input: "injected at each wake step",
    g.Conv: "on spikes; weights balanced",
    g.BatchNorm: "folded into the convolution",
    g.Activation: "CIF neurons",
    g.MaxPool: "maxpool(count at t) - maxpool(count at t-1)",
    g.AvgPool: "linear; output is graded",
    g.Pointwise: "f(sum at t) - f(sum at t-1); graded, not spikes",
    g.Readout: "current summed over time",
}


def audit(graph: g.Graph) -> list[AuditRow]:
    """How each op of a captured graph would be carried over; nothing is left out."""
    rows = []
    for node in graph.nodes:
        op, status, note = type(node).__name__, EXACT, NOTES.get(type(node), "linear, the same on spikes")
        problem = _problem(node, graph)
        if isinstance(node, g.Pointwise):
            op, status = node.function, TEMPORAL
        if isinstance(node, g.Unsupported):
            op = node.what
        if problem:
            status, note = REFUSED, problem
        rows.append(AuditRow(node.name, op, status, note))
    return rows


def _problem(node: g.Node, graph: g.Graph) -> str | None:
    """Why a node cannot be converted and what to do, or None."""
    nodes = {n.name: n for n in graph.nodes}
    if isinstance(node, g.Unsupported):
        return node.remedy
    source = nodes[node.inputs[0]] if node.inputs else None
    if isinstance(node, g.BatchNorm) and not isinstance(source, g.Conv):
        return "BatchNorm must follow a convolution directly; move it there"
    if isinstance(node, g.BatchNorm) and len(graph.consumers()[source.name]) > 1:
        return "its convolution is also used without BatchNorm; give each use a convolution of its own"
    if isinstance(node, g.Activation) and not isinstance(source, g.Conv | g.BatchNorm):
        return "CQReLU must follow a convolution; put a 1x1 convolution before it"
    if isinstance(node, g.Activation) and len(graph.consumers()[source.name]) > 1:
        return "its input current is also used without neurons; give each use a convolution of its own"
    if isinstance(node, g.Add) and (spread := _add_mismatch(node, graph)):
        return spread
    return None


def _add_mismatch(node: g.Add, graph: g.Graph) -> str | None:
    amplitudes = _amplitudes(graph)
    first, second = (amplitudes[name] for name in node.inputs)
    if first is None or second is None or torch.equal(first, second):
        return None
    return "its two inputs have different amplitudes; activations that meet in an addition must share one clip lam"


def _levels(graph: g.Graph) -> int:
    levels = {node.levels for node in graph.of_type(g.Activation)}
    if not levels:
        raise ConversionError(
            "model: it has no CQReLU activation, so there is nothing to convert into neurons; train it first: "
            "casc-det train model=... weights=... teacher=..."
        )
    if len(levels) > 1:
        raise ConversionError(
            f"model: all sites must have the same levels, got {sorted(levels)}; train with one levels="
        )
    return levels.pop()


def _amplitudes(graph: g.Graph) -> dict[str, torch.Tensor | None]:
    """Amplitude per channel of every map, (C,) float64; None behind an unsupported op."""
    sites = graph.of_type((g.Activation, g.Neuron))
    levels = max((node.levels for node in sites), default=1)
    clips = {node.inputs[0]: node.lam / levels for node in sites}  # what drives a neuron -> amplitude
    filled = lambda count, value: torch.full((count,), value, dtype=torch.float64)
    of_site = lambda node, parts: torch.full_like(parts[0], node.lam / levels)
    rules = {
        g.Input: lambda node, parts: filled(node.channels, 1 / levels),
        g.Conv: lambda node, parts: filled(len(node.weight), clips.get(node.name, 1 / levels)),
        g.Activation: of_site,
        g.Neuron: of_site,
        g.Pointwise: lambda node, parts: torch.ones_like(parts[0]),
        g.Unsupported: lambda node, parts: None,
    }
    return g.per_channel(graph, rules)


def fold_batchnorm(graph: g.Graph) -> g.Graph:
    """The same graph with every BatchNorm folded into the convolution before it."""
    norms = {node.inputs[0]: node for node in graph.of_type(g.BatchNorm)}
    renamed = {norm.name: conv for conv, norm in norms.items()}
    nodes = []
    for node in graph.nodes:
        if isinstance(node, g.BatchNorm):
            continue
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if norm := norms.get(node.name):
            scale = norm.scale.double()
            weight = node.weight.double() * scale.view(-1, 1, 1, 1)
            node = replace(node, weight=weight, bias=node.bias.double() * scale + norm.shift.double())
        nodes.append(node)
    return replace(graph, nodes=nodes)


def convert_graph(graph: g.Graph) -> tuple[g.SpikingGraph, list[AuditRow]]:
    """Convert a captured graph, which is left unchanged, into a spiking graph (float64), with the audit of its ops.

    Raises:
        AuditError: some op has no spiking counterpart; its `audit` lists every op.
        ConversionError: there is no CQReLU, or `levels` differ between sites.
    """
    rows = audit(graph)
    refused = [row for row in rows if row.status == REFUSED]
    if refused:
        first, more = refused[0], len(refused) - 1
        rest = f" (and {more} more refused ops, see the audit)" if more else ""
        raise AuditError(f"model: op '{first.name}' ({first.op}) cannot be converted: {first.note}{rest}", rows)
    levels = _levels(graph)
    folded = fold_batchnorm(graph)
    amplitudes = _amplitudes(folded)
    nodes = []
    for node in folded.nodes:
        if isinstance(node, g.Conv):
            out = amplitudes[node.name]
            weight = node.weight.double() * g.per_weight(node, amplitudes) / out.view(-1, 1, 1, 1)
            node = replace(node, weight=weight, bias=node.bias.double() / out / levels)
        elif isinstance(node, g.Activation):
            node = g.Neuron(node.name, node.inputs, 1.0, levels, node.lam)
        elif isinstance(node, g.Pointwise):
            node = replace(node, scale=amplitudes[node.inputs[0]].view(-1, 1, 1))
        nodes.append(node)
    spiking = g.SpikingGraph(nodes, graph.names, graph.strides, graph.reg_max, graph.imgsz, dict(graph.meta), levels)
    return spiking, rows


def real_weights(graph: g.SpikingGraph) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The (weight, bias) of each convolution in real values, float64: balancing undone, BatchNorm stays folded.

    graph: a real-valued graph; see `casc_det.integer.to_real`.
    """
    amplitudes, result = _amplitudes(graph), {}
    for node in graph.of_type(g.Conv):
        out, inner = amplitudes[node.name], g.per_weight(node, amplitudes)
        weight = node.weight.double() * out.view(-1, 1, 1, 1) / inner
        result[node.name] = (weight, node.bias.double() * out * graph.levels)
    return result


def format_audit(rows: list[AuditRow]) -> str:
    """A table of the audit: one line for each op type and note that are exact, one line for every other op."""
    counted: dict[tuple[str, str, str], int] = {}
    single = []
    for row in rows:
        if row.status == EXACT:
            key = (row.op, row.status, row.note)
            counted[key] = counted.get(key, 0) + 1
        else:
            single.append((row.op, row.status, row.note, row.name))
    lines = [f"{count:4d} x {op:<12} {status:<20} {note}" for (op, status, note), count in counted.items()]
    lines += [f"   1 x {op:<12} {status:<20} {note}  [{name}]" for op, status, note, name in single]
    return "\n".join(lines)


class Conversion(NamedTuple):
    """graph: the spiking detector. audit: how each op of the network was carried over."""

    graph: g.SpikingGraph
    audit: list[AuditRow]

    def save(self, path: str | Path) -> Path:
        return save_graph(self.graph, path)


def convert(model, imgsz: int | None = None, precision: str = "integer") -> Conversion:
    """Convert a CQReLU detector into a spiking one; the model is left unchanged.

    Args:
        model: an Ultralytics `DetectionModel` or `YOLO`, or the path of a `.pt` checkpoint; or, to make an integer
            graph of it, a real-valued spiking graph (`.safetensors`).
        imgsz: longest picture side the graph is meant for; default: what the network was trained with, or 640.
        precision: "integer": weights rounded to 8 bits, and from there on everything exact on every machine; "float":
            the network's own weights, exact up to the rounding of sums.

    Raises:
        ConversionError, AuditError: an op has no spiking counterpart, or there is no CQReLU.
        WeightsError: the file cannot be read.
    """
    from casc_det.yolo.capture import capture
    from casc_det.yolo.checkpoint import read_checkpoint

    if precision not in ("integer", "float"):
        raise ArgumentError(f"precision: expected integer or float, got {precision!r}")
    if isinstance(model, str | Path):
        model = find(model)
    if isinstance(model, Path) and model.suffix == ".safetensors":
        if precision == "float":
            raise ArgumentError(f"precision: '{model}' is a spiking graph already; precision=integer rounds it")
        graph = load_graph(model, torch.float64)
        if graph.integer:
            raise ArgumentError(f"weights: '{model}' is an integer graph already; there is nothing to convert")
        size = imgsz or graph.imgsz
        return Conversion(to_integer(replace(graph, imgsz=size)), [])
    meta = {"casc_det": __version__, "method": "CASC, arXiv 2406.05371"}
    if isinstance(model, Path):
        path = model
        if path.suffix != ".pt":
            raise WeightsError(f"weights: expected a .pt checkpoint of casc-det train or a spiking graph, got '{path}'")
        model = read_checkpoint(path)
        meta |= {"source": path.name, "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    model = getattr(model, "model", model) if type(model).__name__ == "YOLO" else model
    trained = getattr(model, "args", None) or {}
    trained = dict(trained) if isinstance(trained, dict) else dict(vars(trained))
    kept = ("levels", "imgsz", "epochs", "batch", "optimizer", "lr0", "seed", "progressive")
    meta["training"] = {key: trained[key] for key in kept if trained.get(key) is not None}
    meta["architecture"] = str(getattr(model, "yaml", {}).get("yaml_file", type(model).__name__))
    size = imgsz or trained.get("imgsz") or 640
    graph = capture(model, size if isinstance(size, int) else max(size))
    graph.meta |= meta
    spiking, audit = convert_graph(graph)
    return Conversion(to_integer(spiking) if precision == "integer" else spiking, audit)
