"""Graph -> SpikingGraph: fold BatchNorm, balance thresholds, put neurons in place of activations.

Balancing divides each convolution's weights by the amplitude of what it drives (`casc_det.conversion.amplitudes`), so
that all thresholds are 1 (data-free, exact):

    U = W * amplitude_in / amplitude_out,    bias of one wake step = b / (Q * amplitude_out)
"""

from dataclasses import replace

import torch

from casc_det import graph as g
from casc_det.conversion.amplitudes import amplitudes_of
from casc_det.conversion.audit import REFUSED, AuditError, AuditRow, audit
from casc_det.errors import ConversionError


def convert_graph(graph: g.Graph) -> tuple[g.SpikingGraph, list[AuditRow]]:
    """Convert a captured graph, which is left unchanged, into a spiking graph (float64), with the audit of its ops.

    Raises:
        AuditError: some op has no spiking counterpart; its `audit` lists every op.
        ConversionError: there is no quantised activation, or `levels` differ between sites.
    """
    rows = audit(graph)
    refused = [row for row in rows if row.status == REFUSED]
    if refused:
        first, more = refused[0], len(refused) - 1
        rest = f" (and {more} more refused ops, see the audit)" if more else ""
        raise AuditError(f"model: op '{first.name}' ({first.op}) cannot be converted: {first.note}{rest}", rows)
    levels = _levels(graph)
    folded = fold_batchnorm(graph)
    amplitudes = amplitudes_of(folded)
    nodes: list[g.Node] = []
    for node in folded.nodes:
        if isinstance(node, g.Conv):
            out = amplitudes[node.name]
            weight = node.weight.double() * node.per_weight(amplitudes[node.inputs[0]]) / out.view(-1, 1, 1, 1)
            node = replace(node, weight=weight, bias=node.bias.double() / out / levels)
        elif isinstance(node, g.Activation):
            neuron = g.Neuron(node.name, node.inputs, 1.0, levels, node.lam, node.function)
            node = neuron.with_table(len(amplitudes[node.name]), torch.float64)
        else:
            node = node.balanced([amplitudes[name] for name in node.inputs])
        nodes.append(node)
    spiking = g.SpikingGraph(nodes, graph.names, graph.strides, graph.reg_max, graph.imgsz, dict(graph.meta), levels)
    return spiking, rows


def real_weights(graph: g.SpikingGraph) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The (weight, bias) of each convolution in real values, float64: balancing undone, BatchNorm stays folded.

    graph: a real-valued graph; see `casc_det.conversion.integer.to_real`.
    """
    amplitudes = amplitudes_of(graph)
    result = {}
    for node in graph.of_type(g.Conv):
        out, inner = amplitudes[node.name], node.per_weight(amplitudes[node.inputs[0]])
        weight = node.weight.double() * out.view(-1, 1, 1, 1) / inner
        result[node.name] = (weight, node.bias.double() * out * graph.levels)
    return result


def fold_batchnorm(graph: g.Graph) -> g.Graph:
    """The same graph with every BatchNorm folded into the convolution before it."""
    norms = {node.inputs[0]: node for node in graph.of_type(g.BatchNorm)}
    renamed = {norm.name: conv for conv, norm in norms.items()}
    nodes: list[g.Node] = []
    for node in graph.nodes:
        if isinstance(node, g.BatchNorm):
            continue
        node = replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs))
        if isinstance(node, g.Conv) and (norm := norms.get(node.name)):
            scale = norm.scale.double()
            weight = node.weight.double() * scale.view(-1, 1, 1, 1)
            node = replace(node, weight=weight, bias=node.bias.double() * scale + norm.shift.double())
        nodes.append(node)
    return replace(graph, nodes=nodes)


def _levels(graph: g.Graph) -> int:
    """The Q of all its activations."""
    levels = {node.levels for node in graph.of_type(g.Activation)}
    if not levels:
        raise ConversionError(
            "model: it has no CQ activation, so there is nothing to convert into neurons; train it first: "
            "casc-det train model=... weights=... teacher=..."
        )
    if len(levels) > 1:
        raise ConversionError(
            f"model: all sites must have the same levels, got {sorted(levels)}; train with one levels="
        )
    return levels.pop()
