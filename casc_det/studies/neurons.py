"""Four neurons of one image, step by step: what CIF does."""

from dataclasses import dataclass, field, replace

import torch

from casc_det.graph import Neuron, SpikingGraph
from casc_det.simulation import SimulationSettings, Simulator, Step, depths
from casc_det.simulation.twin import ann_forward

DEPTHS = (0.0, 0.15, 0.45, 0.8)  # of the layers that are looked at


@dataclass
class NeuronPath:
    """One neuron over time.

    Attributes:
        node, number, channel: where it is; number: of the layer, from 1. place: in the layer's maps (C, H, W), flat.
        ann: the count that the ANN asks for.
        potential: after the spike of each step, in thresholds. spikes: unit spikes of each step, below 0 taken back.
        counts: after each step. wanted: what the potential asks for at each step; nothing without a table.
    """

    number: int
    channel: int
    place: int
    node: Neuron
    ann: int
    potential: list[float] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)

    def add(self, step: Step, ramp: int | None) -> None:
        """Note a time step; ramp: that of its `Rule`."""
        assert step.spikes is not None, "they are recorded"
        v, n = (x.flatten()[self.place] for x in step.states[self.node.name])
        theta = self.node.theta
        self.potential.append(float(v / (theta.flatten()[self.channel] if isinstance(theta, torch.Tensor) else theta)))
        self.spikes.append(int(step.spikes[self.node.name].flatten()[self.place]))
        self.counts.append(int(n))
        if table := self.node.table_at(ramp):
            segment = int((table.thresholds[self.channel] <= v).sum())
            self.wanted.append(int(table.counts[self.channel, segment]))


@torch.no_grad()
def neuron_paths(
    graph: SpikingGraph, image: torch.Tensor, simulation: SimulationSettings, limit: int
) -> list[NeuronPath]:
    """Potential and spikes of four neurons of different depth, up to rest.

    Taken are the neurons that correct themselves most in four layers, which send most unit spikes beyond their count,
    and among those of a layer the first one.

    Args:
        image: (1, 3, H, W). limit: steps at most.
    """
    simulator = Simulator(graph, replace(simulation, engine="reference"))
    layers = graph.of_type(Neuron)
    chosen = dict.fromkeys(round(share * (len(layers) - 1)) for share in DEPTHS)
    sent = {i: torch.zeros(()) for i in chosen}
    for step in simulator.run(image, limit, record=True):
        assert step.spikes is not None, "they are recorded"
        for i in chosen:
            sent[i] = sent[i] + step.spikes[layers[i].name][0].abs()
        if bool(step.quiescent.all()):
            break
    counts, plan, depth = ann_forward(graph, image).counts, simulator.settings.plan(graph), depths(graph)
    beyond = {i: sent[i] - step.states[layers[i].name].n[0].abs() for i in chosen}
    paths = [path_of(layers[i], i + 1, int(beyond[i].argmax()), counts[layers[i].name]) for i in chosen]
    for step in simulator.run(image, limit, record=True):
        for path in paths:
            path.add(step, plan.rule(simulation.neuron, step.t, depth[path.node.name] - 1).ramp)
        if bool(step.quiescent.all()):
            break
    return paths


def path_of(layer: Neuron, number: int, place: int, counts: torch.Tensor) -> NeuronPath:
    """The beginning of a path; counts: those of the ANN, (1, C, H, W)."""
    return NeuronPath(number, place // counts[0, 0].numel(), place, layer, int(counts.flatten()[place]))
