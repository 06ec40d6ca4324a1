"""Spiking neurons as pure functions with explicit state.

CIF, consistent integrate-and-fire (CASC, arXiv 2406.05371), one step:

    v += I
    s = +1 if v >= theta and n < Q;  -1 if v < 0 and n > 0;  else 0
    v -= theta * s                   (jump; the reset is by subtraction)
    n += s

`v` starts at theta/2, the 1/2 of CQReLU. The -1 takes back a spike that was sent too early. IF is the plain
integrate-and-fire neuron: the same without the -1 and without the upper limit, so it cannot take anything back. The
signed IF neuron with memory (Wang et al., IJCAI 2022) takes a spike back only below -theta and has no upper limit.
"""

import math
from types import MappingProxyType
from typing import NamedTuple

import torch


class NeuronParams(NamedTuple):
    """theta: threshold, > 0. levels: Q, the largest count; None for no limit (constant input).

    start: potential before the first step, None for theta/2. theta and start may be tensors (C, 1, 1).
    low: a spike is taken back where v < low * theta; -inf: never.
    """

    theta: float | torch.Tensor = 1.0
    levels: int | None = 8
    start: float | torch.Tensor | None = None
    low: float = 0.0


class NeuronState(NamedTuple):
    """v: membrane potential. n: spikes sent so far less those taken back. Both (B, C, H, W)."""

    v: torch.Tensor
    n: torch.Tensor


def initial_state(like: torch.Tensor, params: NeuronParams) -> NeuronState:
    """State before the first step, in the shape and dtype of `like`."""
    start = params.theta / 2 if params.start is None else params.start
    return NeuronState(torch.zeros_like(like) + start, torch.zeros_like(like))


def neuron_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """One step of neurons: spikes in {-1, 0, 1} in the dtype of `current`, and the new state."""
    v = state.v + current
    fire, take_back = v >= params.theta, (v < params.low * params.theta) & (state.n > 0)
    if params.levels is not None:
        fire &= state.n < params.levels
    spikes = fire.to(v.dtype) - take_back.to(v.dtype)
    return spikes, NeuronState(v - params.theta * spikes, state.n + spikes)


class Kind(NamedTuple):
    """What makes a kind of neuron: where it takes back (`NeuronParams.low`), and whether Q limits its count."""

    low: float
    limited: bool


KINDS = {"cif": Kind(0.0, True), "if": Kind(-math.inf, False), "signed_if": Kind(-1.0, False)}


def cif_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """`neuron_step` of CIF neurons."""
    return neuron_step(current, state, params._replace(low=KINDS["cif"].low))


def if_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """`neuron_step` of plain integrate-and-fire neurons; `levels` is not used."""
    return neuron_step(current, state, params._replace(levels=None, low=KINDS["if"].low))


def signed_if_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """`neuron_step` of signed integrate-and-fire neurons with memory; `levels` is not used."""
    return neuron_step(current, state, params._replace(levels=None, low=KINDS["signed_if"].low))


NEURONS = {"cif": cif_step, "if": if_step, "signed_if": signed_if_step}
"""The step of each kind, by name. An own one may be added, or take the place of one: the reference engine calls it with
the limits of `casc_det.neurons.schedule.Schedule.rule`, those of CIF for a new name; the fast engine refuses it."""

OURS = MappingProxyType(dict(NEURONS))


def is_own(neuron: str) -> bool:
    """Whether a kind of neuron was added from outside, or stands in the place of one of ours."""
    return NEURONS[neuron] is not OURS.get(neuron)
