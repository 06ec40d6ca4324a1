"""Signals of a chunk of K steps of B images inside the fast engine, and what moves them about without a neuron.

Feature maps are (R, H, W, C), R = K*B rows; spikes are uint8 with a zero point (`casc_det.simulation.fast.forms`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from casc_det import graph as g

LARGEST_ZERO = 127  # spikes of one step lie in -zero..zero, uint8 holds 0..2*zero


@dataclass
class Signal:
    """Signals of a chunk, (K*B, H, W, C): spikes as uint8 at zero point `zero`, or floats. No rows: silence.

    `zero` is also the largest magnitude of a spike: gamma behind neurons, and additions add it up (`FORMS`).
    """

    data: torch.Tensor
    zero: int = 0

    @property
    def is_spikes(self) -> bool:
        """Whether these are spikes, not floats."""
        return self.data.dtype == torch.uint8

    def floats(self, dtype: torch.dtype) -> torch.Tensor:
        """The values as they are."""
        return self.data.to(dtype) - self.zero if self.is_spikes else self.data

    def filled(self, rows: int) -> torch.Tensor:
        """The data, with zeros written out where it is silent."""
        return self.data if len(self.data) else self.data.new_full((rows, *self.data.shape[1:]), self.zero)


@dataclass
class Rows:
    """Signals of which few differ: data (R, H, W, C), rows (K, B) the row of each step and image, -1 for zero.

    bias: name of the convolution whose bias has yet to be added at each wake step. Without one, what depends on the
    pixels alone and is the same at each wake step.
    """

    data: torch.Tensor
    rows: torch.Tensor
    bias: str | None = None


@dataclass
class Events:
    """Few spikes on their way through a convolution to its neurons; some (K, B): steps with spikes."""

    spikes: Signal
    some: torch.Tensor
    conv: g.Conv


class Form(NamedTuple):
    """How an op moves spikes as they are stored.

    zero: its zero point, of those of its inputs. move: the data, of the op, its inputs' data (R, H, W, C) at the zero
    point of the output (for an addition at their own), and the zero point.
    """

    zero: Callable[[Sequence[int]], int]
    move: Callable[[Any, list[torch.Tensor], int], torch.Tensor]


def _upsample(node: g.Upsample, inputs: list[torch.Tensor], zero: int) -> torch.Tensor:
    rows, height, width, channels = inputs[0].shape
    up, across = node.scale
    wide = inputs[0][:, :, None, :, None].expand(rows, height, up, width, across, channels)
    return wide.reshape(rows, height * up, width * across, channels)


FORMS: dict[type[g.Node], Form] = {
    g.Add: Form(sum, lambda node, inputs, zero: inputs[0] + inputs[1]),
    g.Concat: Form(max, lambda node, inputs, zero: torch.cat(inputs, 3)),
    g.Slice: Form(max, lambda node, inputs, zero: inputs[0][..., node.start : node.stop].contiguous()),
    g.Upsample: Form(max, _upsample),
    g.ZeroPad: Form(
        max, lambda node, inputs, zero: torch.nn.functional.pad(inputs[0], (0, 0, *node.padding), value=zero)
    ),
}


def move(node: g.Node, inputs: Sequence[Signal], dtype: torch.dtype) -> Signal:
    """What a linear op makes of its inputs.

    Spikes stay spikes where there is a form for them, but for additions whose sums may leave -`LARGEST_ZERO`..
    `LARGEST_ZERO`; all else are floats from there on.
    """
    rows = max(len(x.data) for x in inputs)
    form = FORMS.get(type(node))
    zero = form.zero([x.zero for x in inputs]) if form else 0
    if form is None or zero > LARGEST_ZERO or not all(x.is_spikes for x in inputs):
        return Signal(nhwc(node.compute(*(nchw(Signal(x.floats(dtype)).filled(rows)) for x in inputs))))
    data = [x.filled(rows) for x in inputs]
    if not isinstance(node, g.Add):
        data = [x if signal.zero == zero else x + (zero - signal.zero) for x, signal in zip(data, inputs, strict=True)]
    return Signal(form.move(node, data, zero), zero)


def largest_spikes(graph: g.SpikingGraph, burst: int = 1) -> dict[str, int]:
    """The largest magnitude of a spike behind each node, its zero point; 0 where signals are floats."""

    def size(node: g.Node, *sizes: int) -> int:
        form = FORMS.get(type(node))
        zero = form.zero(sizes) if form and 0 not in sizes else 0
        return zero if zero <= LARGEST_ZERO else 0

    return g.walk(graph, {g.Neuron: lambda node, x: burst, g.MaxPool: lambda node, x: x}, size, keep=True)


def chosen_rows(data: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """data[chosen]; a view where they lie together, as the rows after the first silent steps do."""
    at = chosen.nonzero().flatten()
    if len(at) and int(at[-1] - at[0]) + 1 == len(at):
        return data[int(at[0]) : int(at[-1]) + 1]
    return data[chosen]


def spread(x: torch.Tensor, rest: torch.Tensor, chosen: torch.Tensor, dim: int) -> torch.Tensor:
    """`rest` with the entries `chosen` along `dim` taken from `x`."""
    return x if len(chosen) == rest.shape[dim] else rest.index_copy(dim, chosen, x)


def nhwc(x: torch.Tensor) -> torch.Tensor:
    """(R, C, H, W) as (R, H, W, C), which lies together."""
    return x.permute(0, 2, 3, 1).contiguous()


def nchw(x: torch.Tensor) -> torch.Tensor:
    """(R, H, W, C) as a view (R, C, H, W)."""
    return x.permute(0, 3, 1, 2)
