"""Four neurons of one image, step by step: what CIF does."""

from dataclasses import dataclass, field, replace

import torch

from casc_det.graph import Neuron, SpikingGraph
from casc_det.simulation import SimulationSettings, Simulator, Step
from casc_det.simulation.twin import ann_forward

DEPTHS = (0.0, 0.15, 0.45, 0.8)  # of the layers that are looked at


@dataclass
class NeuronPath:
    """One neuron over time.

    Attributes:
        layer, number, channel: where it is; number: of the layer, from 1. place: in the layer's maps (C, H, W), flat.
        ann: the count that the ANN asks for.
        potential: after the spike of each step, in thresholds. spikes: -1, 0, 1 of each step. count: at the end.
    """

    layer: str
    number: int
    channel: int
    place: int
    theta: float
    ann: int
    potential: list[float] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    count: int = 0

    def add(self, step: Step) -> None:
        """Note a time step."""
        assert step.spikes is not None, "they are recorded"
        state = step.states[self.layer]
        self.potential.append(float(state.v.flatten()[self.place]) / self.theta)
        self.spikes.append(int(step.spikes[self.layer].flatten()[self.place]))
        self.count = int(state.n.flatten()[self.place])


@torch.no_grad()
def neuron_paths(
    graph: SpikingGraph, image: torch.Tensor, simulation: SimulationSettings, limit: int
) -> list[NeuronPath]:
    """Potential and spikes of four neurons of different depth, up to rest.

    Taken are the neurons that take back most spikes in four layers, and among those of a layer the first one.

    Args:
        image: (1, 3, H, W). limit: steps at most.
    """
    simulator = Simulator(graph, replace(simulation, engine="reference"))
    layers = graph.of_type(Neuron)
    chosen = dict.fromkeys(round(share * (len(layers) - 1)) for share in DEPTHS)
    taken = {i: torch.zeros(()) for i in chosen}
    for step in simulator.run(image, limit, record=True):
        assert step.spikes is not None, "they are recorded"
        for i in chosen:
            taken[i] = taken[i] + (step.spikes[layers[i].name][0] < 0).int()
        if bool(step.quiescent.all()):
            break
    counts = ann_forward(graph, image).counts
    paths = [path_of(layers[i], i + 1, int(taken[i].argmax()), counts[layers[i].name]) for i in chosen]
    for step in simulator.run(image, limit, record=True):
        for path in paths:
            path.add(step)
        if bool(step.quiescent.all()):
            break
    return paths


def path_of(layer: Neuron, number: int, place: int, counts: torch.Tensor) -> NeuronPath:
    """The beginning of a path; counts: those of the ANN, (1, C, H, W)."""
    channel = place // counts[0, 0].numel()
    theta = layer.theta.flatten()[channel] if isinstance(layer.theta, torch.Tensor) else layer.theta
    return NeuronPath(layer.name, number, channel, place, float(theta), int(counts.flatten()[place]))
