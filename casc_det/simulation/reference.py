"""The reference engine: one time loop over the nodes of a spiking graph, written to be read.

In every step each node takes the spikes that its inputs send in this very step, so the whole network advances one
step at a time and memory does not grow with the number of steps.
"""

from collections.abc import Iterator

import torch

from casc_det import graph as g
from casc_det.neurons import NEURONS, NeuronParams, NeuronState, initial_state, is_own, neuron_step
from casc_det.neurons.schedule import WAITING
from casc_det.simulation.step import Step, depths, fan_out, spiking_convolutions


@torch.no_grad()
def run_reference(
    graph, images, limit: int, until_quiescent: bool, neuron: str, plan, record, compare
) -> Iterator[Step]:
    """See `casc_det.simulation.simulate`."""
    pixels = graph.pixels(images)
    states: dict[str, NeuronState] = {}
    sums: dict[str, torch.Tensor] = {}  # running inputs of temporal-difference nodes, and of readouts
    before: dict[str, torch.Tensor] = {}  # f(sum) one step ago
    fans: dict[str, torch.Tensor] = {}
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    spiking = {node.name for node in spiking_convolutions(graph)}
    depth = depths(graph)
    layers = max(depth.values())
    for t in range(1, limit + 1):
        awake = plan.awake(t)
        signals: dict[str, torch.Tensor] = {}
        fired, passed, spikes = [], [], {}
        for node in graph.nodes:
            inputs = [signals[name] for name in node.inputs]
            match node:
                case g.Input():
                    signal = pixels if awake else torch.zeros_like(pixels)
                case g.Conv():
                    signal = node.compute(inputs[0], integer=graph.integer)
                    if awake:
                        signal = signal + graph.wake_bias(node, t)
                    if node.name in spiking:
                        if node.name not in fans:
                            fans[node.name] = fan_out(node, *inputs[0].shape[2:])
                        reached = inputs[0].abs().sum(1, dtype=torch.float64) * fans[node.name]
                        passed.append(reached.sum((1, 2)))
                case g.Neuron():
                    levels, low = plan.rule(neuron, t, depth[node.name] - 1)
                    params = NeuronParams(node.theta, levels, graph.start(node), low)
                    state = states.get(node.name) or initial_state(inputs[0], params)
                    own = is_own(neuron) and (levels, low) != WAITING
                    step = NEURONS[neuron] if own else neuron_step
                    signal, states[node.name] = step(inputs[0], state, params)
                    fired.append(torch.stack([(signal > 0).sum((1, 2, 3)), (signal < 0).sum((1, 2, 3))]))
                    spikes[node.name] = signal
                case g.Readout():
                    signal = sums[node.name] = sums.get(node.name, 0) + inputs[0]
                case _ if node.spiking is g.Spiking.TEMPORAL:
                    sums[node.name] = sums.get(node.name, 0) + inputs[0]
                    after = node.compute(sums[node.name])
                    signal = after - before.get(node.name, 0)
                    before[node.name] = after
                case _:
                    signal = node.compute(*inputs)
            signals[node.name] = signal
            for name in node.inputs:
                if last_use[name] == node.name:
                    signals.pop(name, None)
        sent = torch.stack(fired)
        step = Step(
            graph,
            plan.divisor(t),
            t,
            quiescent=(sent.sum((0, 1)) == 0) & plan.may_rest(t, layers),
            fired=sent,
            passed=torch.stack(passed or [torch.zeros(0, len(images), dtype=torch.float64)]).view(-1, len(images)),
            total={node.name: sums[node.name] for node in graph.of_type(g.Readout)}.__getitem__,
            states=dict(states),
            spikes=spikes if record else None,
            match=None if compare is None else _match(states, compare, graph.levels, min(t, graph.levels)),
        )
        yield step
        if until_quiescent and bool(step.quiescent.all()):
            return


def _match(states: dict[str, NeuronState], wanted: dict[str, torch.Tensor], levels: int, t: int) -> torch.Tensor:
    """`Step.match`."""
    gaps = [(state.n * levels - wanted[name] * t).flatten(1) for name, state in states.items()]
    return torch.stack([torch.stack([(x > 0).sum(1), (x < 0).sum(1), x.abs().sum(1)], 1).long() for x in gaps])
