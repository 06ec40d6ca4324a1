"""Signals of a chunk of K steps of B pictures inside the fast engine, and what moves them about without a neuron.

Feature maps are (R, H, W, C), R = K*B rows; spikes are uint8 with a zero point (`casc_det.simulation.fast.kernels`).
"""

from dataclasses import dataclass

import torch

from casc_det import graph as g

LARGEST_ZERO = 127  # spikes of one step lie in -zero..zero, uint8 holds 0..2*zero


@dataclass
class Train:
    """Signals of a chunk, (K*B, H, W, C): spikes as uint8 at zero point `zero`, or floats. No rows: silence.

    `zero` is also the largest magnitude of a spike: 1 behind neurons, and additions add it up (`move`).
    """

    data: torch.Tensor
    zero: int = 0

    @property
    def is_spikes(self) -> bool:
        return self.data.dtype == torch.uint8

    def floats(self, dtype: torch.dtype) -> torch.Tensor:
        return self.data.to(dtype) - self.zero if self.is_spikes else self.data

    def filled(self, rows: int) -> torch.Tensor:
        """The data, with zeros written out where it is silent."""
        return self.data if len(self.data) else self.data.new_full((rows, *self.data.shape[1:]), self.zero)


@dataclass
class Rows:
    """Signals of which few differ: data (R, H, W, C), rows (K, B) the row of each step and picture, -1 for zero.

    bias: name of the convolution whose bias has yet to be added at each wake step.
    """

    data: torch.Tensor
    rows: torch.Tensor
    bias: str | None = None


@dataclass
class Events:
    """Few spikes on their way through a convolution to its neurons; some (K, B): steps with spikes."""

    train: Train
    some: torch.Tensor
    conv: g.Conv


def move(node: g.Node, inputs: list[Train], dtype: torch.dtype) -> Train:
    """What a node that remembers nothing makes of its inputs.

    Spikes stay spikes, but for an average pool and for additions whose sums may leave -`LARGEST_ZERO`..`LARGEST_ZERO`:
    these are floats from there on.
    """
    rows = max(len(x.data) for x in inputs)
    zero = sum(x.zero for x in inputs) if isinstance(node, g.Add) else max(x.zero for x in inputs)
    if not all(x.is_spikes for x in inputs) or isinstance(node, g.AvgPool) or zero > LARGEST_ZERO:
        floats = [nchw(Train(x.floats(dtype)).filled(rows)) for x in inputs]
        return Train(nhwc(node.compute(*floats)))
    match node:
        case g.Add():
            first, second = (x.filled(rows) for x in inputs)
            return Train(first + second, zero)
        case g.Concat():
            shifted = [Train(x.data + (zero - x.zero), zero) if x.zero < zero else x for x in inputs]
            return Train(torch.cat([x.filled(rows) for x in shifted], 3), zero)
        case g.Slice():
            return Train(inputs[0].data[..., node.start : node.stop].contiguous(), zero)
        case g.Upsample():
            rows, height, width, channels = inputs[0].data.shape
            (up, across), wide = node.scale, inputs[0].data[:, :, None, :, None]
            wide = wide.expand(rows, height, up, width, across, channels)
            return Train(wide.reshape(rows, height * up, width * across, channels), zero)
        case g.ZeroPad():
            return Train(torch.nn.functional.pad(inputs[0].data, (0, 0, *node.padding), value=zero), zero)
    raise TypeError(f"no rule for node type {type(node).__name__}")


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
    return x.permute(0, 2, 3, 1).contiguous()


def nchw(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)
