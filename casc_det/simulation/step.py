"""What is known after a time step, of both engines, and added up over the steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from casc_det import graph as g
from casc_det.neurons.rule import NeuronState
from casc_det.simulation.checks import spiking_convolutions
from casc_det.simulation.settings import SimulationSettings


def count_fired(spikes: torch.Tensor) -> torch.Tensor:
    """(2, B) int64, unit spikes sent and taken back, of spikes (B, C, H, W): a burst of k counts k times."""
    return torch.stack([spikes.clamp(min=0).sum((1, 2, 3)), -spikes.clamp(max=0).sum((1, 2, 3))]).long()


def count_messages(spikes: torch.Tensor) -> torch.Tensor:
    """(B,) int64, messages: neurons that send anything, whatever the size of the burst."""
    return (spikes != 0).sum((1, 2, 3))


def largest(signal: torch.Tensor) -> torch.Tensor:
    """(B,) float64, the largest magnitude of a signal (B, C, H, W)."""
    return signal.abs().amax((1, 2, 3)).double()


def payload_bits(burst: int) -> int:
    """Bits of a message of at most `burst` unit spikes: its sign, and one of so many magnitudes."""
    return 1 + (burst - 1).bit_length()


def count_sops(signal: torch.Tensor, synapses: torch.Tensor) -> torch.Tensor:
    """(B,) float64, synaptic operations of a signal (B, C, H, W), by magnitude; synapses: (H, W) that leave a position.

    One spike through one synapse is one operation, a graded signal counts as many as its magnitude.
    """
    return (signal.abs().sum(1, dtype=torch.float64) * synapses).sum((1, 2))


def count_gaps(counts: torch.Tensor, wanted: torch.Tensor, scale: tuple[int, int]) -> torch.Tensor:
    """(B, 3) int64: neurons with more than wanted, with fewer, and the sum of the differences, by magnitude.

    counts times `scale[0]` are held against wanted times `scale[1]`, both (B, ...).
    """
    gap = (counts * scale[0] - wanted * scale[1]).flatten(1)
    return torch.stack([(gap > 0).sum(1), (gap < 0).sum(1), gap.abs().sum(1)], 1).long()


def rate_scale(injected: int, levels: int) -> tuple[int, int]:
    """What counts, and the ANN's, are multiplied by to be compared as rates, n / injected and n* / Q."""
    return levels, min(injected, levels)


class Extras(NamedTuple):
    """What each step tells besides: the spikes (`record`), and how counts compare with given ones, by neuron layer."""

    record: bool = False
    compare: dict[str, torch.Tensor] | None = None


@dataclass(repr=False)
class Step:
    """What is known after step `t` (1, 2, ...) of a batch of B images.

    Attributes:
        graph, divisor: the graph, and what its summed readouts are divided by after step `t`.
        t: the step.
        quiescent: (B,) bool; True once a whole sleep step passed without a spike. Then the answer is final.
        fired: (neuron layers, 2, B) unit spikes sent and taken back in this step, layers in the order of the graph.
        messages: (neuron layers, B) neurons that sent anything in this step.
        sops_by_layer: (convolutions that read spikes, B) float64, synaptic operations of this step: unit spikes
            times the synapses they pass.
        peaks: (convolutions that read spikes, B) float64, the largest magnitude that they read in this step.
        total: function of a readout's name: its currents summed up to this step, (B, C, H, W).
        states: the neurons' potentials and counts by layer; the engine's own tensors, do not write to them. The fast
            engine gives them at the steps named in `at` and at the last one, else an empty dictionary.
        spikes: the spikes of this step by neuron layer, (B, C, H, W) of integers in -burst..burst, where
            `record` asks for them.
        match: (neuron layers, B, 3) int64 where `compare` gives counts n*: neurons whose rate n / injected levels is
            above that of n* / Q, neurons below it, and the sum of |n Q - n* injected|.
    """

    graph: g.SpikingGraph
    divisor: int
    t: int
    quiescent: torch.Tensor
    fired: torch.Tensor
    messages: torch.Tensor
    sops_by_layer: torch.Tensor
    peaks: torch.Tensor
    total: Callable[[str], torch.Tensor]
    states: dict[str, NeuronState]
    spikes: dict[str, torch.Tensor] | None = None
    match: torch.Tensor | None = None

    def __repr__(self) -> str:
        sent, rest = int(self.fired.sum()), int(self.quiescent.sum())
        return f"Step(t={self.t}, {rest} of {len(self.quiescent)} images quiescent, {sent} unit spikes)"

    @property
    def readout(self) -> dict[str, torch.Tensor]:
        """Estimate of each output map by name, (B, C, H, W); the ANN's at quiescence. Computed when asked for."""
        nodes = self.graph.of_type(g.Readout)
        return {node.name: self.graph.output(node, self.total(node.name), self.divisor) for node in nodes}

    @property
    def positive(self) -> dict[str, torch.Tensor]:
        """Unit spikes sent in this step, by neuron layer, (B,)."""
        return {node.name: x for node, x in zip(self.graph.of_type(g.Neuron), self.fired[:, 0], strict=True)}

    @property
    def negative(self) -> dict[str, torch.Tensor]:
        """Unit spikes taken back in this step, by neuron layer, (B,)."""
        return {node.name: x for node, x in zip(self.graph.of_type(g.Neuron), self.fired[:, 1], strict=True)}

    @property
    def layer_sops(self) -> dict[str, torch.Tensor]:
        """Synaptic operations of this step by convolution, (B,) float64; none for convolutions of pixels."""
        return {node.name: x for node, x in zip(spiking_convolutions(self.graph), self.sops_by_layer, strict=True)}

    @property
    def sops(self) -> torch.Tensor:
        """Synaptic operations of this step, (B,) float64."""
        return self.sops_by_layer.sum(0)

    @property
    def counts(self) -> dict[str, torch.Tensor]:
        """Spike counts of each neuron layer, (B, C, H, W)."""
        return {name: state.n for name, state in self.states.items()}


@dataclass(frozen=True)
class SpikingInfo:
    """What the answer cost.

    Attributes:
        timesteps: time steps used.
        quiescent: True: the network came to rest, the answer is the ANN's and final.
        spikes: unit spikes of all neurons, sent and taken back; a burst of k counts k times.
        sops: synaptic operations, one unit spike through one synapse each.
        messages: how often a neuron sent anything, a burst at once. payload_bits: of all messages together.
        layer_spikes, layer_messages: by neuron layer. layer_sops: by convolution that reads spikes.
        peaks: the largest magnitude that each of these convolutions read.
    """

    timesteps: int
    quiescent: bool
    spikes: int
    sops: int
    messages: int
    payload_bits: int
    layer_spikes: dict[str, int] = field(repr=False)
    layer_messages: dict[str, int] = field(repr=False)
    layer_sops: dict[str, float] = field(repr=False)
    peaks: dict[str, float] = field(repr=False)


class Tally:
    """Adds up what each image of a batch cost; at rest nothing happens any more.

    Args:
        batch: the number of images.

    Attributes:
        steps: time steps used. quiescent: whether it came to rest. Of each image.
    """

    def __init__(self, graph: g.SpikingGraph, settings: SimulationSettings, batch: int) -> None:
        self.steps, self.quiescent = [0] * batch, [False] * batch
        self._bits = payload_bits(settings.plan(graph).burst)
        self._layers = [node.name for node in graph.of_type(g.Neuron)]
        self._convolutions = [node.name for node in spiking_convolutions(graph)]
        self._spikes, self._messages = (torch.zeros(len(self._layers), batch, dtype=torch.int64) for _ in range(2))
        self._sops, self._peaks = (torch.zeros(len(self._convolutions), batch, dtype=torch.float64) for _ in range(2))

    def add(self, step: Step) -> None:
        """Add a step."""
        for i, quiescent in enumerate(step.quiescent.tolist()):
            if not self.quiescent[i]:
                self.steps[i], self.quiescent[i] = step.t, quiescent
        self._spikes += step.fired.sum(1).cpu()
        self._messages += step.messages.cpu()
        self._sops += step.sops_by_layer.cpu()
        self._peaks = torch.maximum(self._peaks, step.peaks.cpu())

    def info(self, i: int, timesteps: int | None = None) -> SpikingInfo:
        """What image `i` cost up to the last step that was added; timesteps: that step, where it counts past rest."""
        messages = int(self._messages[:, i].sum())
        named = lambda names, values: dict(zip(names, values[:, i].tolist(), strict=True))
        return SpikingInfo(
            timesteps=timesteps or self.steps[i],
            quiescent=self.quiescent[i],
            spikes=int(self._spikes[:, i].sum()),
            sops=round(float(self._sops[:, i].sum())),
            messages=messages,
            payload_bits=messages * self._bits,
            layer_spikes=named(self._layers, self._spikes),
            layer_messages=named(self._layers, self._messages),
            layer_sops=named(self._convolutions, self._sops),
            peaks=named(self._convolutions, self._peaks),
        )
