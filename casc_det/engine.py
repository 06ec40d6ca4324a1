"""The reference engine: one time loop over the nodes of a spiking graph, written to be read.

In every step each node takes the spikes that its inputs send in this very step, so the whole network advances one
step at a time and memory does not grow with the number of steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from casc_det import graph as g
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS, NeuronParams, NeuronState, initial_state
from casc_det.ops import TEMPORAL, apply, convolve
from casc_det.schedule import SCHEDULES


@dataclass
class Step:
    """What is known after step `t` (1, 2, ...) of a batch of B pictures.

    Attributes:
        t: the step.
        readout: estimate of each output map by name, (B, C, H, W); the ANN's at quiescence.
        quiescent: (B,) bool; True once a whole sleep step passed without a spike. Then the answer is final.
        positive, negative: spikes sent and taken back in this step, by neuron layer, (B,).
        layer_sops: synaptic operations of this step by convolution, (B,): spikes times the synapses they pass, by
            magnitude; none for convolutions of pixels.
        states: the neurons' potentials and counts by layer; the engine's own tensors, do not write to them.
    """

    t: int
    readout: dict[str, torch.Tensor]
    quiescent: torch.Tensor
    positive: dict[str, torch.Tensor]
    negative: dict[str, torch.Tensor]
    layer_sops: dict[str, torch.Tensor]
    states: dict[str, NeuronState]

    @property
    def sops(self) -> torch.Tensor:
        """Synaptic operations of this step, (B,) float64."""
        none = torch.zeros(len(self.quiescent), dtype=torch.float64, device=self.quiescent.device)
        return sum(self.layer_sops.values(), none)

    @property
    def counts(self) -> dict[str, torch.Tensor]:
        """Spike counts of each neuron layer, (B, C, H, W)."""
        return {name: state.n for name, state in self.states.items()}


def depths(graph: g.SpikingGraph) -> dict[str, int]:
    """For each node the largest number of neuron layers on a path from the picture to it, itself included."""
    result: dict[str, int] = {}
    for node in graph.nodes:
        result[node.name] = max((result[i] for i in node.inputs), default=0) + isinstance(node, g.Neuron)
    return result


def auto_limit(graph: g.SpikingGraph) -> int:
    """An upper bound of the step at which WSC with CIF neurons is quiescent: Q*(depth + 1) + 1.

    depth: the largest number of neuron layers on a path from the picture to an output.

    After wake the input of the first layer is complete. Once the input of a neuron is complete, each step brings its
    count one nearer to the final one, and the two are at most Q apart: Q steps a layer, and one step to see silence.
    """
    return graph.levels * (max(depths(graph).values()) + 1) + 1


def check_timesteps(timesteps, graph: g.SpikingGraph) -> int:
    """The number of steps to run at most: `timesteps` itself, or the bound of `auto`."""
    if timesteps == "auto":
        return auto_limit(graph)
    if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < 1:
        raise ArgumentError(f"timesteps: expected a whole number above 0 or 'auto', got {timesteps!r}")
    return timesteps


def check_images(graph: g.SpikingGraph, images: torch.Tensor) -> None:
    stride, dtype = max(graph.strides), graph.dtype
    if images.dtype != dtype:
        raise ArgumentError(
            f"images: expected dtype {dtype}, that of the graph's weights, got {images.dtype}; convert one"
        )
    sizes = images.shape[2:]
    if images.ndim != 4 or images.shape[1] != 3 or not len(images) or any(s < 1 or s % stride for s in sizes):
        raise ArgumentError(
            f"images: expected a tensor (B, 3, H, W) with H and W multiples of {stride}, got {tuple(images.shape)}; "
            "letterbox the pictures first"
        )


def fan_out(node: g.Conv, height: int, width: int) -> torch.Tensor:
    """Synapses that leave each position of one input channel, (H, W): exact at the borders."""
    ones = torch.ones(1, 1, *node.weight.shape[2:], dtype=node.weight.dtype, device=node.weight.device)
    geometry = (node.stride, node.padding, node.dilation)
    x = torch.zeros(1, 1, height, width, dtype=ones.dtype, device=ones.device, requires_grad=True)
    with torch.enable_grad():
        y = torch.nn.functional.conv2d(x, ones, None, *geometry)
        (reached,) = torch.autograd.grad(y.sum(), x)
    return reached[0, 0] * (node.weight.shape[0] // node.groups)


def simulate(
    graph: g.SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str = "auto",
    neuron: str = "cif",
    schedule: str = "wsc",
) -> Iterator[Step]:
    """Run the spiking network on a batch of pictures, yielding a `Step` after each time step.

    Args:
        graph: see `casc_det.conversion`; its weights' dtype and device are those of the simulation.
        images: (B, 3, H, W) in 0..1, H and W multiples of the largest stride.
        timesteps: number of steps, or "auto": until every picture is quiescent (at most `auto_limit`).
        neuron: "cif" or "if".
        schedule: "wsc" (input in the first Q steps) or "constant".

    Raises:
        ArgumentError: an argument is none of these, or "auto" without CIF and WSC, which alone come to rest.
    """
    if neuron not in NEURONS:
        raise ArgumentError(f"neuron: expected one of {', '.join(NEURONS)}, got {neuron!r}")
    if schedule not in SCHEDULES:
        raise ArgumentError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if timesteps == "auto" and (neuron, schedule) != ("cif", "wsc"):
        raise ArgumentError("timesteps: 'auto' needs neuron='cif' and schedule='wsc'; give a number of steps")
    limit = check_timesteps(timesteps, graph)
    check_images(graph, images)
    return _run(graph, images, limit, timesteps == "auto", NEURONS[neuron], SCHEDULES[schedule](graph.levels))


@torch.no_grad()
def _run(graph, images, limit, until_quiescent, neuron_step, plan) -> Iterator[Step]:
    states: dict[str, NeuronState] = {}
    sums: dict[str, torch.Tensor] = {}  # running inputs of temporal-difference nodes, and of readouts
    before: dict[str, torch.Tensor] = {}  # f(sum) one step ago
    fans: dict[str, torch.Tensor] = {}
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    reached = depths(graph)
    for t in range(1, limit + 1):
        awake = plan.awake(t)
        signals: dict[str, torch.Tensor] = {}
        positive, negative, sops = {}, {}, {}
        for node in graph.nodes:
            inputs = [signals[name] for name in node.inputs]
            match node:
                case g.Input():
                    signal = images if awake else torch.zeros_like(images)
                case g.Conv():
                    signal = convolve(node, inputs[0])
                    if awake:
                        signal = signal + node.bias.view(1, -1, 1, 1)
                    if reached[node.inputs[0]]:  # pixels are no spikes
                        if node.name not in fans:
                            fans[node.name] = fan_out(node, *inputs[0].shape[2:])
                        passed = inputs[0].abs().sum(1) * fans[node.name]
                        sops[node.name] = passed.sum((1, 2), dtype=torch.float64)
                case g.Neuron():
                    params = NeuronParams(node.theta, plan.count_limit)
                    state = states.get(node.name) or initial_state(inputs[0], params)
                    signal, states[node.name] = neuron_step(inputs[0], state, params)
                    positive[node.name] = (signal > 0).sum((1, 2, 3))
                    negative[node.name] = (signal < 0).sum((1, 2, 3))
                case g.Readout():
                    signal = sums[node.name] = sums.get(node.name, 0) + inputs[0]
                case _ if isinstance(node, TEMPORAL):
                    sums[node.name] = sums.get(node.name, 0) + inputs[0]
                    after = apply(node, sums[node.name])
                    signal = after - before.get(node.name, 0)
                    before[node.name] = after
                case _:
                    signal = apply(node, *inputs)
            signals[node.name] = signal
            for name in node.inputs:
                if last_use[name] == node.name:
                    signals.pop(name, None)
        fired = sum(positive.values()) + sum(negative.values())
        quiescent = (fired == 0) & (not awake)
        readout = {node.name: sums[node.name] / plan.divisor(t) for node in graph.of_type(g.Readout)}
        yield Step(t, readout, quiescent, positive, negative, sops, dict(states))
        if until_quiescent and bool(quiescent.all()):
            return
