"""What the fast engine prepares once for a graph: packed weights, tiled thresholds and tables, the bias of each wake
step."""

from functools import cache

import torch
from torch.nn.functional import pad

from casc_det import graph as g
from casc_det.neurons.schedule import Schedule
from casc_det.simulation.checks import depths, spiking_convolutions, synapses
from casc_det.simulation.fast.convolution import SpikeConvolution
from casc_det.simulation.fast.forms import Tables, tile


class Network:
    """A graph made ready for the fast engine.

    Attributes:
        depth: of each node, see `depths`; layers: the largest.
        spiking: row in `Step.sops_by_layer` of each convolution that reads spikes.
        convolutions: their sums. injected: by how much each wake step multiplies the pixels; multiples: without
            repetitions. bias: (steps, C) what each of the first steps adds, of wake and half as many of sleep; tiles:
            the same as `tile` makes it. Where there are more than Q wake steps, what these do repeats.
        theta, start: of each layer the thresholds as `tile` makes them, and (C,) the potential before the first step.
        least: of each layer the least count. ramps: levels whose tables some step follows, None for all Q.
        tables: these, of each layer; none where it has equal steps.
        synapses: of a convolution and the size of its input, (H*W,) int64 synapses of each position.
        outputs: for each readout whose convolution reads neurons: these two. Its sum is a convolution of their counts.
        lazy: the convolutions in `outputs`.
        to_neurons: weights of each convolution that drives one layer of neurons alone, as `events` takes them.
    """

    def __init__(self, graph: g.SpikingGraph, plan: Schedule) -> None:
        self.graph, self.plan = graph, plan
        self.depth = depths(graph)
        self.layers = max(self.depth.values())
        self.spiking = {node.name: i for i, node in enumerate(spiking_convolutions(graph))}
        convs = {node.name: node for node in graph.of_type(g.Conv)}
        self.convolutions = {name: SpikeConvolution(node, graph.integer) for name, node in convs.items()}
        steps = range(1, 1 + min(plan.input_steps, graph.levels))
        spans = [(plan.injected(t - 1), plan.injected(t)) for t in steps]
        self.injected = [after - before for before, after in spans]
        self.multiples = sorted(set(self.injected))
        biases = {name: [graph.wake_bias(node, *span).flatten() for span in spans] for name, node in convs.items()}
        asleep = len(spans) // 2 if len(spans) == plan.wake else 0
        self.bias = {name: pad(torch.stack(rows), (0, 0, 0, asleep)) for name, rows in biases.items()}
        self.tiles = {name: tile(table) for name, table in self.bias.items()}
        self.theta: dict[str, torch.Tensor] = {}
        self.start: dict[str, torch.Tensor] = {}
        self.tables: dict[str, Tables] = {}
        self.ramps = [None, *(map(plan.injected, range(1, plan.wake)) if plan.ramp and plan.wake else ())]
        for node in graph.of_type(g.Neuron):
            ones = torch.ones_like(convs[node.inputs[0]].bias)
            theta = _per_channel(node.theta, ones)
            self.theta[node.name], self.tables[node.name] = tile(theta), self._tables(node, theta)
            self.start[node.name] = _per_channel(graph.start(node), ones)
        self.least = {node.name: node.span[0] for node in graph.of_type(g.Neuron)}
        self.synapses = cache(lambda node, height, width: synapses(node, height, width).flatten().round().long())
        self.outputs = _outputs(graph)
        self.lazy = {conv.name for conv, _ in self.outputs.values()}
        self.to_neurons = _to_neurons(graph)

    def _tables(self, node: g.Neuron, theta: torch.Tensor) -> Tables:
        found = [node.table_at(levels) for levels in self.ramps]
        return Tables.of([table for table in found if table], theta)


def _per_channel(x: float | torch.Tensor, ones: torch.Tensor) -> torch.Tensor:
    return ones * (x.flatten() if isinstance(x, torch.Tensor) else x)


def _outputs(graph: g.SpikingGraph) -> dict[str, tuple[g.Conv, str]]:
    nodes, readers, result = {node.name: node for node in graph.nodes}, graph.consumers(), {}
    for node in graph.of_type(g.Readout):
        conv = nodes[node.inputs[0]]
        if isinstance(conv, g.Conv) and len(readers[conv.name]) == 1 and isinstance(nodes[conv.inputs[0]], g.Neuron):
            result[node.name] = (conv, conv.inputs[0])
    return result


def _to_neurons(graph: g.SpikingGraph) -> dict[str, torch.Tensor]:
    readers = graph.consumers()
    only = lambda node: [type(reader) for reader in readers[node.name]] == [g.Neuron]
    convs = [node for node in graph.of_type(g.Conv) if only(node) and node.groups == 1]
    return {node.name: node.weight.permute(1, 2, 3, 0).flip(2).flatten(2).contiguous() for node in convs}
