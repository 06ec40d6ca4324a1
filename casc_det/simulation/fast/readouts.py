"""The summed currents of the readouts after each step of a chunk, computed when someone looks at them."""

from dataclasses import dataclass, field

import torch

from casc_det import graph as g
from casc_det.neurons.schedule import Schedule
from casc_det.simulation.fast.memory import Memory
from casc_det.simulation.fast.network import Network
from casc_det.simulation.fast.neurons import maps
from casc_det.simulation.fast.signals import Signal, spread


@dataclass
class Readouts:
    """Where a readout's convolution reads neurons (`Network.outputs`), its sum is that convolution of their counts, for
    the steps that someone asks for; else it is added up step by step.

    Attributes:
        times: the steps of the chunk. images: indices of those that run.
        sums: (K or 1, images that run, C, H, W) of readouts that are added up; rest: (B, C, H, W), of all images.
        before: counts (B, N) before the chunk of the neurons that the others read. spikes: what these send in it.
    """

    network: Network
    plan: Schedule
    times: range
    images: torch.Tensor
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    rest: dict[str, torch.Tensor] = field(default_factory=dict)
    before: dict[str, torch.Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    spikes: dict[str, Signal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sources = {source for _, source in self.network.outputs.values()}
        self._counts: dict[str, torch.Tensor] = {}  # (K, images that run, N) after each step, made at the first use

    def finish(self, memory: Memory, before: dict[str, torch.Tensor], spikes: dict[str, Signal]) -> None:
        """Take what is needed later of a chunk that is done; before: counts before it, of layers where it ran."""
        layers = {name: memory.neurons[name] for name in self.sources}
        self.shapes = {name: layer.shape for name, layer in layers.items()}
        self.before = {name: before.get(name, layer.n) for name, layer in layers.items()}
        self.spikes = {name: spikes[name] for name in self.sources if name in spikes}
        added = [node.name for node in self.network.graph.of_type(g.Readout) if node.name not in self.network.outputs]
        self.rest = {name: memory.sums[name] for name in added}

    def after(self, k: int, name: str) -> torch.Tensor:
        """The sum (B, C, H, W) of a readout after step `times[k]`."""
        if name in self.rest:
            if name not in self.sums:
                return self.rest[name]
            sums = self.sums[name]
            return spread(sums[min(k, len(sums) - 1)], self.rest[name], self.images, 0)
        graph = self.network.graph
        node, source = self.network.outputs[name]
        counts = maps(self._counts_after(k, source), self.shapes[source]).to(graph.dtype)
        return node.compute(counts, integer=graph.integer) + graph.summed_bias(node, self.plan.divisor(self.times[k]))

    def _counts_after(self, k: int, source: str) -> torch.Tensor:
        """The counts (B, N) of a layer after step `times[k]`."""
        counts, sent = self.before[source], self.spikes.get(source)
        if sent is None or not len(sent.data):
            return counts
        if source not in self._counts:
            sums = sent.data.view(len(self.times), len(self.images), -1).cumsum(0, dtype=torch.int16)
            zeros = sent.zero * torch.arange(1, len(sums) + 1, dtype=torch.int16, device=sums.device)
            self._counts[source] = sums.add_(counts[self.images] - zeros[:, None, None])
        return spread(self._counts[source][k], counts, self.images, 0)
