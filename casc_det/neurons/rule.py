"""The neuron rule: one pure function of input current, state and parameters.

A neuron follows the count `n*` that its whole potential V asks for (CASC, arXiv 2406.05371, in the general form of a
quantised activation). One step:

    V += I
    s = clip(n*(V) - n, -gamma, gamma)        and n stays within n_min..Q
    n += s

`n*` is a table: ascending thresholds and the count of each segment between them, which need not rise. CQReLU is the
table of equal steps, n* = floor((V + theta/2) / theta). It needs no table, because after n spikes only the rest of the
potential matters, v = theta/2 + V - theta*n, the reset by subtraction; with gamma = 1 this is the neuron of the paper:

    v += I
    s = +1 if v >= theta and n < Q;  -1 if v < low*theta and n > n_min;  else 0
    v -= theta * s
    n += s

`v` starts at theta/2, the 1/2 of CQReLU. A negative s takes back what was sent too early. `low` is where: 0 for CIF,
below 0 with hysteresis (a table then takes back what it would not ask for at V - low*theta either), -inf for never.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from casc_det.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Table:
    """The counts that potentials ask for, by channel.

    Attributes:
        thresholds: (C, K), ascending; inf where a channel has fewer.
        counts: (C, K + 1), integers in the dtype of the thresholds: below the first threshold, from the first on, ...

    Raises:
        ArgumentError: the shapes do not fit, or thresholds do not ascend.
    """

    thresholds: torch.Tensor
    counts: torch.Tensor

    def __post_init__(self) -> None:
        thresholds, counts = tuple(self.thresholds.shape), tuple(self.counts.shape)
        if len(thresholds) != 2 or counts != (thresholds[0], thresholds[1] + 1):
            raise ArgumentError(f"counts: expected (C, K + 1) for thresholds (C, K), got {counts} for {thresholds}")
        if bool((self.thresholds[:, 1:] < self.thresholds[:, :-1]).any()):
            raise ArgumentError("thresholds: expected each row in ascending order")

    def wanted(self, v: torch.Tensor) -> torch.Tensor:
        """The count n*(v) of potentials (B, C, H, W), in their dtype."""
        channels = v.transpose(0, 1)
        segments = torch.searchsorted(self.thresholds, channels.flatten(1).contiguous(), right=True)
        return self.counts.gather(1, segments).view(channels.shape).transpose(0, 1)


class NeuronParams(NamedTuple):
    """What a layer of neurons follows. A tuple made in the innermost loop: its values are not checked.

    theta: threshold, > 0. levels: Q, the largest count; None for no limit (constant input).
    start: potential before the first step; None for theta/2, with a table 0. theta and start may be tensors (C, 1, 1).
    low: a spike is taken back where v < low * theta; -inf: never.
    gamma: the largest |s| of a step ("burst"), at least 1. n_min: the least count, at most 0.
    table: the counts that potentials ask for; None: equal steps of theta.
    """

    theta: float | torch.Tensor = 1.0
    levels: int | None = 8
    start: float | torch.Tensor | None = None
    low: float = 0.0
    gamma: int = 1
    n_min: int = 0
    table: Table | None = None


class NeuronState(NamedTuple):
    """v: membrane potential; with a table it is never reset. n: unit spikes sent so far less those taken back. Both
    (B, C, H, W)."""

    v: torch.Tensor
    n: torch.Tensor


def initial_state(like: torch.Tensor, params: NeuronParams) -> NeuronState:
    """State before the first step, in the shape and dtype of `like`."""
    start = params.start
    if start is None:
        start = params.theta / 2 if params.table is None else 0.0
    return NeuronState(torch.zeros_like(like) + start, torch.zeros_like(like))


def neuron_step(current: torch.Tensor, state: NeuronState, params: NeuronParams) -> tuple[torch.Tensor, NeuronState]:
    """One step of neurons.

    Args:
        current: (B, C, H, W), or any shape without a table.

    Returns:
        s, integers within -gamma..gamma in the dtype of `current`, and the new state.
    """
    v, n = state.v + current, state.n
    more, fewer = _equal_steps(v, params) if params.table is None else _table_steps(v, n, params.table, params)
    if params.levels is not None:
        more = more.minimum((params.levels - n).clamp_(min=0))
    spikes = more - fewer.minimum((n - params.n_min).clamp_(min=0))
    return spikes, NeuronState(v if params.table else v - params.theta * spikes, n + spikes)


def _equal_steps(v: torch.Tensor, params: NeuronParams) -> tuple[torch.Tensor, torch.Tensor]:
    """By how many counts more, and fewer, the rest v of the potential asks for: whole thresholds, up to gamma."""
    more, fewer = (v >= params.theta).to(v.dtype), (v < params.low * params.theta).to(v.dtype)
    for k in range(1, params.gamma):
        more += v >= (k + 1) * params.theta
        fewer += v < (params.low - k) * params.theta
    return more, fewer


def _table_steps(
    v: torch.Tensor, n: torch.Tensor, table: Table, params: NeuronParams
) -> tuple[torch.Tensor, torch.Tensor]:
    """By how many counts more, and fewer, than n the whole potential v asks for, up to gamma."""
    more = (table.wanted(v) - n).clamp(0, params.gamma)
    fewer = (n - table.wanted(v - params.low * params.theta)).clamp(0, params.gamma)
    return more, fewer.where(more == 0, 0)
