"""Spiking neurons as pure functions with explicit state.

CIF, consistent integrate-and-fire (CASC, arXiv 2406.05371), one step:

    v += I
    s = +1 if v >= theta and n < Q;  -1 if v < 0 and n > 0;  else 0
    v -= theta * s                   (jump; the reset is by subtraction)
    n += s

`v` starts at theta/2, the 1/2 of CQReLU. The -1 takes back a spike that was sent too early. IF is the plain
integrate-and-fire neuron: the same without the -1 and without the upper limit, so it cannot take anything back.
"""

from typing import NamedTuple

import torch


class NeuronParams(NamedTuple):
    """theta: threshold, > 0. levels: Q, the largest count; None for no limit (constant input).

    start: potential before the first step, None for theta/2. theta and start may be tensors (C, 1, 1).
    """

    theta: float | torch.Tensor = 1.0
    levels: int | None = 8
    start: float | torch.Tensor | None = None


class NeuronState(NamedTuple):
    """v: membrane potential. n: spikes sent so far less those taken back. Both (B, C, H, W)."""

    v: torch.Tensor
    n: torch.Tensor


def initial_state(like: torch.Tensor, params: NeuronParams) -> NeuronState:
    """State before the first step, in the shape and dtype of `like`."""
    start = params.theta / 2 if params.start is None else params.start
    return NeuronState(torch.zeros_like(like) + start, torch.zeros_like(like))


def cif_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """One step of CIF neurons: spikes in {-1, 0, 1} in the dtype of `current`, and the new state."""
    v = state.v + current
    fire, take_back = v >= params.theta, (v < 0) & (state.n > 0)
    if params.levels is not None:
        fire &= state.n < params.levels
    spikes = fire.to(v.dtype) - take_back.to(v.dtype)
    return spikes, NeuronState(v - params.theta * spikes, state.n + spikes)


def if_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """One step of plain integrate-and-fire neurons: spikes in {0, 1} and the new state; `levels` is not used."""
    v = state.v + current
    spikes = (v >= params.theta).to(v.dtype)
    return spikes, NeuronState(v - params.theta * spikes, state.n + spikes)


NEURONS = {"cif": cif_step, "if": if_step}
