"""The reference engine: one time step of a spiking graph after the other, written to be read.

In every step each node takes what its inputs send in this very step: pixels and biases in wake, spikes between the
layers. Neurons follow `casc_det.neurons`. An op that is not linear sends f(sum at t) - f(sum at t-1). Readouts add up.
"""

from functools import cache

import torch

from casc_det import graph as g
from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS, is_own
from casc_det.neurons.kind import Step as NeuronStep
from casc_det.neurons.rule import NeuronParams, NeuronState, initial_state, neuron_step
from casc_det.neurons.schedule import WAITING
from casc_det.simulation.checks import depths, spiking_convolutions, synapses
from casc_det.simulation.settings import SimulationSettings
from casc_det.simulation.state import State
from casc_det.simulation.step import (
    Extras,
    Step,
    count_fired,
    count_gaps,
    count_messages,
    count_sops,
    largest,
    rate_scale,
)


class ReferenceEngine:
    """A graph made ready for the reference engine."""

    def __init__(self, graph: g.SpikingGraph, settings: SimulationSettings) -> None:
        self.graph, self.settings = graph, settings
        self.depth = depths(graph)
        self.synapses = cache(synapses)
        self.spiking = {node.name for node in spiking_convolutions(graph)}

    def longest(self, state: State) -> int:
        """The number of steps that `advance` takes at most."""
        return 1

    def advance(self, state: State, steps: int, extras: Extras, reuse: bool = False) -> tuple[State, list[Step]]:
        """One step: the state after it, and what is known then; `reuse` does not matter here."""
        t, plan, graph = state.t + 1, self.settings.plan(self.graph), self.graph
        awake = plan.awake(t)
        before, after = plan.injected(t - 1), plan.injected(t)
        neurons: dict[str, NeuronState] = {}
        spikes: dict[str, torch.Tensor] = {}
        sums: dict[str, torch.Tensor] = {}
        sent: dict[str, torch.Tensor] = {}
        sops: list[torch.Tensor] = [state.pixels.new_zeros(0, len(state.pixels), dtype=torch.float64)]
        peaks = list(sops)

        def inject(node: g.Input) -> torch.Tensor:
            return state.pixels * (after - before if awake else 0)

        def convolve(node: g.Conv, x: torch.Tensor) -> torch.Tensor:
            if node.name in self.spiking:
                sops.append(count_sops(x, self.synapses(node, *x.shape[2:]))[None])
                peaks.append(largest(x)[None])
            current = node.compute(x, integer=graph.integer)
            return current + graph.wake_bias(node, before, after) if awake else current

        def fire(node: g.Neuron, current: torch.Tensor) -> torch.Tensor:
            rule = plan.rule(self.settings.neuron, t, self.depth[node.name] - 1)
            limits = (rule.limit, graph.start(node), rule.low, plan.burst, node.span[0])
            params = NeuronParams(node.theta, *limits, node.table_at(rule.ramp))
            old = state.neurons.get(node.name) or initial_state(current, params)
            own = is_own(self.settings.neuron) and rule != WAITING
            step = _own_step(self.settings.neuron) if own else neuron_step
            spikes[node.name], neurons[node.name] = step(current, old, params)
            return spikes[node.name]

        def add_up(node: g.Node, x: torch.Tensor) -> torch.Tensor:
            sums[node.name] = state.sums.get(node.name, 0) + x
            return sums[node.name]

        def other(node: g.Node, *inputs: torch.Tensor) -> torch.Tensor:
            if node.spiking is not g.Spiking.TEMPORAL:
                return node.compute(*inputs)
            sent[node.name] = node.compute(add_up(node, *inputs))
            return sent[node.name] - state.sent.get(node.name, 0)

        g.walk(graph, {g.Input: inject, g.Conv: convolve, g.Neuron: fire, g.Readout: add_up}, other)
        fired = torch.stack([count_fired(x) for x in spikes.values()])
        messages = torch.stack([count_messages(x) for x in spikes.values()])
        quiescent = (fired.sum((0, 1)) == 0) & plan.may_rest(t, max(self.depth.values()))
        result = State(graph, self.settings, t, state.pixels, neurons, sums, sent, quiescent)
        cost = (fired, messages, torch.cat(sops), torch.cat(peaks))
        step = Step(graph, after, t, quiescent, *cost, sums.__getitem__, neurons)
        if extras.record:
            step.spikes = spikes
        if extras.compare is not None:
            scale = rate_scale(after, graph.levels)
            gaps = [count_gaps(state.n, extras.compare[name], scale) for name, state in neurons.items()]
            step.match = torch.stack(gaps)
        return result, [step]


def _own_step(neuron: str) -> NeuronStep:
    """An own step function of `NEURONS`; what it returns is looked at."""

    def step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
        result: object = NEURONS[neuron](current, state, params)
        match result:
            case (torch.Tensor() as spikes, NeuronState(torch.Tensor() as v, torch.Tensor() as n)):
                if all(x.shape == current.shape and x.dtype == current.dtype for x in (spikes, v, n)):
                    return spikes, NeuronState(v, n)
        raise ArgumentError(
            f"neuron: the step of '{neuron}' must return (spikes, NeuronState(v, n)), each a tensor "
            f"{tuple(current.shape)} of {current.dtype}, got {shown(result)}"
        )

    return step
