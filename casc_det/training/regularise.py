"""What training does for the sake of the spiking network: a price on spikes, weights rounded to 8 bits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.bounds import units_of
from casc_det.neurons.activation import CQ
from casc_det.yolo.capture import capture
from casc_det.yolo.install import cq_sites
from casc_det.yolo.trace import modules_of, trace

Criterion = Callable[[Any, dict], tuple[torch.Tensor, dict[str, torch.Tensor]]]  # (predictions, batch) -> loss, items


class SpikePenalty:
    """A criterion that adds `strength` times the mean of |n| per neuron, n = Q*a/clip, to another criterion's loss.

    A neuron's count n is what the spiking network sends in total, a negative one as negative spikes, so this is what it
    costs. Observes `model` by forward hooks, in training mode only.
    """

    def __init__(self, model: nn.Module, criterion: Criterion, strength: float) -> None:
        self.criterion, self.strength = criterion, strength
        self.counts: list[tuple[torch.Tensor, int]] = []
        for site in cq_sites(model):
            site.register_forward_hook(self._observe)

    def _observe(self, site: CQ, inputs: tuple, output: torch.Tensor) -> None:
        if site.training:
            size = output.clamp(min=0) if site.function == "relu" else output.abs()  # mixed with SiLU it is below 0
            counts = size.sum(dtype=torch.float32) * site.levels / site.clip
            self.counts.append((counts, output.numel()))

    def __call__(self, predictions: Any, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss with the price of spikes, and its parts."""
        loss, items = self.criterion(predictions, batch)
        if not self.counts:
            return loss, items
        total = sum((count for count, _ in self.counts), torch.zeros((), device=loss.device))
        mean = total / sum(size for _, size in self.counts)
        self.counts.clear()
        # Ultralytics' own criterion gives a vector that is already multiplied by the batch size
        penalty = self.strength * mean * (len(batch["img"]) if loss.ndim else 1)
        return loss.sum() + penalty, {**items, "count": mean.detach()}


class FakeInt8:
    """From now on every convolution of `model` computes with the 8-bit weights that conversion would round it to.

    The parameters stay real-valued and get the gradient of the rounded ones (straight through). Rounding takes place
    where `conversion.integer` does it: behind the amplitudes of the inputs, per output channel; a BatchNorm behind the
    convolution only scales its channels and changes nothing. Each channel keeps the scale that conversion chooses now.

    Raises:
        ConversionError: the model cannot be captured.
    """

    def __init__(self, model: nn.Module) -> None:
        captured = capture(model)
        modules: dict[str, Any] = modules_of(trace(model))  # each of the type that its node is made of
        sites = {node.name: i for i, node in enumerate(captured.of_type(g.Activation))}
        self.sites: list[CQ] = [modules[name] for name in sites]
        site_of_channel = g.walk(
            captured,
            {
                g.Input: lambda node: torch.full((node.channels,), -1),
                g.Conv: lambda node, part: torch.full((len(node.weight),), -1),
                g.Activation: lambda node, part: torch.full_like(part, sites[node.name]),
            },
            lambda node, *parts: node.amplitude(parts),
            keep=True,
        )
        real = convert_graph(captured)[0]
        units, whole = units_of(real), {node.inputs[0]: node for node in to_integer(real).nodes if node.inputs}
        self.convolutions: dict[nn.Conv2d, tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = {}
        for node in real.of_type(g.Conv):
            conv, theta = modules[node.name], _theta(whole[node.name])
            index = node.per_weight(site_of_channel[node.inputs[0]]).to(conv.weight.device)
            scaled = (conv.weight.detach() * self._amplitudes(index)).flatten(1).double()
            goal = (node.weight * node.per_weight(units[node.inputs[0]])).flatten(1).to(scaled)
            factor = (goal * scaled).sum(1) / scaled.square().sum(1).clamp(min=1e-30)  # goal = factor * scaled
            step = 1 / (factor * theta.flatten().to(factor)).to(conv.weight).view(-1, 1, 1, 1)
            self.convolutions[conv] = (conv.weight, index, step)
            conv.register_forward_pre_hook(self._round)
            conv.register_forward_hook(self._restore)

    def _amplitudes(self, index: torch.Tensor) -> torch.Tensor:
        """The clip of each weight's input, 1 for pixels."""
        clips = [site.clip.detach() for site in self.sites]
        return torch.stack([*clips, torch.ones_like(clips[0])])[index]

    def _round(self, conv: nn.Conv2d, inputs: tuple) -> None:
        weight, index, step = self.convolutions[conv]
        amplitude = self._amplitudes(index)
        with torch.no_grad():
            rounded = (weight * amplitude / step).round_().clamp_(-127, 127) * step / amplitude
        parameters: dict[str, Any] = conv._parameters  # a tensor in place of a parameter, for this pass
        parameters["weight"] = weight + (rounded - weight).detach()

    def _restore(self, conv: nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
        conv._parameters["weight"] = self.convolutions[conv][0]


def _theta(target: g.Node) -> torch.Tensor:
    """What a convolution of an integer graph drives: thresholds, or what a readout counts as 1, per channel."""
    if isinstance(target, g.Readout) and target.scale is not None:
        return 1 / target.scale
    assert isinstance(target, g.Neuron) and isinstance(target.theta, torch.Tensor), target
    return target.theta
