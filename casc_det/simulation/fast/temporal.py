"""Running sums over time in the fast engine: nodes that send the differences of f(sum), and what readouts add up."""

from dataclasses import dataclass, field

import torch

from casc_det import graph as g
from casc_det.neurons.schedule import Schedule
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.forms import maps, pool
from casc_det.simulation.fast.memory import Memory
from casc_det.simulation.fast.network import Network
from casc_det.simulation.fast.signals import Signal, nchw, nhwc, spread


def add_up(memory: Memory, name: str, data: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Running sums (K, images, C, H, W) of floats (K*images, C, H, W); (1, ...) if nothing came."""
    if name not in memory.sums:
        memory.sums[name] = data.new_zeros(len(memory.pixels), *data.shape[1:])
    memory.sums[name] = memory.sums[name].to(data.dtype)  # counts of a state from where loops are compiled
    before = memory.sums[name][images][None]
    if not len(data):
        return before
    after = before + data.unflatten(0, (-1, len(images))).cumsum(0)
    memory.sums[name] = spread(after[-1], memory.sums[name], images, 0)
    return after


def difference(memory: Memory, node: g.Node, x: Signal, images: torch.Tensor, steps: int) -> Signal:
    """f(sum at t) - f(sum at t-1) of a chunk; spikes stay spikes where f is a max pool."""
    stay_spikes = x.is_spikes and isinstance(node, g.MaxPool)
    if x.is_spikes and isinstance(node, g.MaxPool) and compiled(x.data.device):
        return _pool(memory, node, x, images, steps)
    dtype = memory.pixels.dtype
    if not len(x.data) and node.name in memory.sent:
        none = nhwc(memory.sent[node.name][:0])
        return Signal(none.to(torch.uint8), x.zero) if stay_spikes else Signal(none)
    floats = Signal(x.filled(steps * len(images)), x.zero).floats(dtype)
    sums = add_up(memory, node.name, nchw(floats), images)
    after = node.compute(sums.flatten(0, 1)).unflatten(0, sums.shape[:2])
    if node.name not in memory.sent:
        memory.sent[node.name] = after.new_zeros(len(memory.pixels), *after.shape[2:])
    memory.sent[node.name] = memory.sent[node.name].to(dtype)
    moved = after.diff(dim=0, prepend=memory.sent[node.name][images][None])
    memory.sent[node.name] = spread(after[-1], memory.sent[node.name], images, 0)
    data = nhwc(moved.flatten(0, 1))
    return Signal((data + x.zero).to(torch.uint8), x.zero) if stay_spikes else Signal(data)


def _pool(memory: Memory, node: g.MaxPool, x: Signal, images: torch.Tensor, steps: int) -> Signal:
    """`difference` of a max pool by its compiled form; sums are int16 counts."""
    if node.name not in memory.sent:
        batch, shape = len(memory.pixels), x.data.shape[1:]
        pooled = node.compute(nchw(torch.empty(1, *shape, device="meta"))).shape
        counts = x.data.new_zeros(batch, *shape, dtype=torch.int16)
        before = x.data.new_zeros(batch, *pooled[2:], pooled[1], dtype=torch.int16)
    else:
        counts, before = (nhwc(part[node.name].to(torch.int16)) for part in (memory.sums, memory.sent))
    memory.sums[node.name], memory.sent[node.name] = nchw(counts), nchw(before)
    if not len(x.data):
        return Signal(x.data.new_empty(0, *before.shape[1:]), x.zero)
    geometry = (node.kernel, node.stride, node.padding, node.dilation)
    out = pool(x.data.unflatten(0, (steps, -1)), x.zero, counts, before, images, geometry)
    return Signal(out.flatten(0, 1), x.zero)


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
        return node.compute(counts, integer=graph.integer) + graph.summed_bias(node, self.plan.injected(self.times[k]))

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
