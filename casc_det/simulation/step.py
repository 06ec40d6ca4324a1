"""What is known after a time step, of both engines, and added up over the steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from casc_det import graph as g
from casc_det.neurons.rule import NeuronState
from casc_det.simulation.checks import spiking_convolutions


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
        spikes: unit spikes of all neurons, sent and taken back.
        sops: synaptic operations, one unit spike through one synapse each.
        messages: how often a neuron sent anything, a burst at once.
    """

    timesteps: int
    quiescent: bool
    spikes: int
    sops: int
    messages: int


class Tally:
    """Adds up what each image of a batch cost, until it is quiescent: afterwards nothing happens.

    Attributes:
        steps: time steps used. quiescent: whether it came to rest. spikes: unit spikes, sent and taken back. sops:
            synaptic operations. messages: of neurons. peaks: the largest magnitude that any convolution read. Of each
            image.
        sops_by_layer: (convolutions that read spikes, B) float64, their operations.
    """

    def __init__(self, batch: int) -> None:
        self.spikes, self.sops, self.messages, self.peaks = ([0] * batch for _ in range(4))
        self.steps, self.quiescent = [0] * batch, [False] * batch
        self.sops_by_layer = torch.zeros(0, batch, dtype=torch.float64)

    def add(self, step: Step) -> None:
        """Add a step."""
        fired, quiescent, sops = step.fired.sum((0, 1)).tolist(), step.quiescent.tolist(), step.sops_by_layer.cpu()
        messages, peaks = step.messages.sum(0).tolist(), step.peaks.amax(0).tolist() if len(step.peaks) else []
        self.sops_by_layer = sops + self.sops_by_layer if len(self.sops_by_layer) else sops
        for i, operations in enumerate(sops.sum(0).tolist()):
            if not self.quiescent[i]:
                self.steps[i], self.quiescent[i] = step.t, quiescent[i]
                self.spikes[i] += fired[i]
                self.sops[i] += round(operations)
                self.messages[i] += messages[i]
                self.peaks[i] = max(self.peaks[i], *peaks[i : i + 1])

    def info(self, i: int, timesteps: int | None = None) -> SpikingInfo:
        """What image `i` cost up to the last step that was added; timesteps: that step, where it counts past rest."""
        return SpikingInfo(
            timesteps or self.steps[i], self.quiescent[i], self.spikes[i], self.sops[i], self.messages[i]
        )
