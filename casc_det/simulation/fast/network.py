"""What the fast engine prepares once for a graph."""

import torch

from casc_det import graph as g
from casc_det.simulation.fast.convolution import SpikeConvolution
from casc_det.simulation.fast.neurons import tile
from casc_det.simulation.step import depths, fan_out, spiking_convolutions


class Network:
    """What is prepared once for a graph: packed weights, tiled thresholds and the bias of each wake step."""

    def __init__(self, graph: g.SpikingGraph):
        self.graph = graph
        steps = range(1, graph.levels + 1)
        self.last_use = {name: node.name for node in graph.nodes for name in node.inputs}
        self.depth = depths(graph)
        self.layers = max(self.depth.values())
        self.spiking = {node.name: i for i, node in enumerate(spiking_convolutions(graph))}
        self.convolutions = {node.name: SpikeConvolution(node, graph.integer) for node in graph.of_type(g.Conv)}
        self.bias = {
            n.name: torch.stack([graph.wake_bias(n, t).flatten() for t in steps]) for n in graph.of_type(g.Conv)
        }
        self.tiles = {name: tile(table) for name, table in self.bias.items()}
        self.theta, self.start = {}, {}
        channels = {node.name: len(node.bias) for node in graph.of_type(g.Conv)}
        for node in graph.of_type(g.Neuron):
            ones = graph.of_type(g.Conv)[0].weight.new_ones(channels[node.inputs[0]])
            per_channel = lambda x, ones=ones: ones * (x.flatten() if isinstance(x, torch.Tensor) else x)
            self.theta[node.name] = tile(per_channel(node.theta))
            self.start[node.name] = per_channel(graph.start(node))
        self.fans: dict[tuple, torch.Tensor] = {}
        self.outputs = self._outputs(graph)
        self.to_neurons = self._to_neurons(graph)
        self.lazy = {conv.name for conv, _ in self.outputs.values()}

    def _outputs(self, graph: g.SpikingGraph) -> dict[str, tuple[g.Conv, str]]:
        """For each readout whose convolution reads neurons: these two. Its sum is a convolution of their counts."""
        nodes, readers, result = {node.name: node for node in graph.nodes}, graph.consumers(), {}
        for node in graph.of_type(g.Readout):
            conv = nodes[node.inputs[0]]
            alone = isinstance(conv, g.Conv) and len(readers[conv.name]) == 1
            if alone and isinstance(nodes[conv.inputs[0]], g.Neuron):
                result[node.name] = (conv, conv.inputs[0])
        return result

    def _to_neurons(self, graph: g.SpikingGraph) -> dict[str, torch.Tensor]:
        """The weights of each convolution that drives one layer of neurons and nothing else, as `events` takes them."""
        readers = graph.consumers()
        only = lambda node: [type(reader) for reader in readers[node.name]] == [g.Neuron]
        convs = [node for node in graph.of_type(g.Conv) if only(node) and node.groups == 1]
        return {node.name: node.weight.permute(1, 2, 3, 0).flip(2).flatten(2).contiguous() for node in convs}

    def fan(self, node: g.Conv, height: int, width: int) -> torch.Tensor:
        """`fan_out` as (H*W,) int64."""
        key = (node.name, height, width)
        if key not in self.fans:
            self.fans[key] = fan_out(node, height, width).flatten().round().long()
        return self.fans[key]
