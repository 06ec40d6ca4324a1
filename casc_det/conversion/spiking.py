"""Graph -> SpikingGraph: fold BatchNorm, balance thresholds, put neurons in place of CQReLU.

Every map has an amplitude per channel, so that real value = amplitude * (sum of the signal over time). A neuron with
clip `lam` sends spikes of amplitude lam/Q; the picture, injected Q times, has 1/Q. Balancing divides each
convolution's weights by the amplitude of what it drives, so that all thresholds are 1 (data-free, exact):

    U = W * amplitude_in / amplitude_out,    bias of one wake step = b / (Q * amplitude_out)

A convolution that drives no neuron (readout) gets amplitude 1/Q, so that its sum divided by Q is the real value.
"""

from dataclasses import dataclass, replace

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError

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

    graph: a real-valued graph; see `casc_det.conversion.integer.to_real`.
    """
    amplitudes, result = _amplitudes(graph), {}
    for node in graph.of_type(g.Conv):
        out, inner = amplitudes[node.name], g.per_weight(node, amplitudes)
        weight = node.weight.double() * out.view(-1, 1, 1, 1) / inner
        result[node.name] = (weight, node.bias.double() * out * graph.levels)
    return result


def format_audit(rows: list[AuditRow]) -> str:
    """A table of the audit: one line for each op type, status and note; those that are not exact last, with names."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: row.status != EXACT):
        grouped.setdefault((row.op, row.status, row.note), []).append(row.name)
    lines = []
    for (op, status, note), names in grouped.items():
        named = f"  [{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}]" if status != EXACT else ""
        lines.append(f"{len(names):4d} x {op:<12} {status:<20} {note}{named}")
    return "\n".join(lines)
