"""What a spiking graph holds, and how it is best simulated."""

from collections import Counter
from typing import Any

from casc_det import graph as g
from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError
from casc_det.graph.bounds import proved_range
from casc_det.graph.fields import LARGEST_SIDE
from casc_det.simulation.checks import auto_limit, check_burst
from casc_det.simulation.cost import count_operations, usual_side
from casc_det.simulation.reads import spike_audit
from casc_det.simulation.settings import PLAIN, VARIANTS, SimulationSettings
from casc_det.simulation.step import payload_bits


def describe(graph: g.SpikingGraph, imgsz: int | None = None, burst: int | None = None) -> dict[str, Any]:
    """Facts about a spiking graph as JSON values.

    Args:
        imgsz: side of the square image whose neurons and MACs are counted; default: that of the graph.
        burst: the one that the range, the steps and the messages are told for; default: what the file recommends.
    """
    stride = max(graph.strides)
    size = usual_side(graph) if imgsz is None else imgsz
    if not is_integer(size, stride, LARGEST_SIDE) or size % stride:
        raise ArgumentError(
            f"imgsz: expected a multiple of {stride} from {stride} to {LARGEST_SIDE}, got {shown(size)}"
        )
    operations, neurons = count_operations(graph, size, size), graph.of_type(g.Neuron)
    recommended, settings = PLAIN.of(graph), SimulationSettings(burst=burst).of(graph)
    plan = settings.plan(graph)
    check_burst(graph, settings)
    arithmetic = (
        f"8-bit weights, integers up to {max(proved_range(graph, plan.burst).values())} (below 2^24)"
        if graph.integer
        else "real-valued"
    )
    return {
        "levels": graph.levels,
        "activations": dict(Counter(node.function for node in neurons)),
        "counts": [min(node.span[0] for node in neurons), max(node.span[1] for node in neurons)],
        "recommended": {name: getattr(recommended, name) for name in VARIANTS},
        "burst": plan.burst,
        "bits of a message": payload_bits(plan.burst),
        "wake steps": plan.wake,
        "most steps to rest": auto_limit(graph, settings),
        "reads": spike_audit(graph, settings),
        "arithmetic": arithmetic,
        "classes": len(graph.names),
        "imgsz": graph.imgsz,
        "parameters": sum(v.numel() for node in graph.nodes for v in g.tensors(node).values()),
        "neuron layers": len(neurons),
        f"neurons at {size}": operations.neurons,
        f"ANN MACs at {size}": operations.ann_macs,
        "nodes": {kind: len(graph.of_type(t)) for kind, t in g.NODE_TYPES.items() if graph.of_type(t)},
        "names": ", ".join(graph.names),
        **graph.meta,
    }
