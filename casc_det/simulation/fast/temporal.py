"""Running sums over time in the fast engine: what readouts add up, and nodes that send the differences of f(sum)."""

import torch

from casc_det import graph as g
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.counting import pool
from casc_det.simulation.fast.signals import Train, nchw, nhwc, spread


class Sums:
    """The sums of one simulation; `alive` below: indices of the pictures that run, of B.

    Attributes:
        now: running inputs by node, (B, C, H, W); counts (B, H, W, C) int16 for a max pool of spikes.
        before: f(sum) one step ago, alike.
    """

    def __init__(self, batch: int, dtype: torch.dtype, device: torch.device):
        self.batch, self.dtype, self.device = batch, dtype, device
        self.now: dict[str, torch.Tensor] = {}
        self.before: dict[str, torch.Tensor] = {}

    def add_up(self, name: str, x: Train, alive: torch.Tensor) -> torch.Tensor:
        """Running sums (K, B, C, H, W) of the pictures that run, kept for the next chunk; (1, ...) if nothing came."""
        data = nchw(x.floats(self.dtype))
        if name not in self.now:
            self.now[name] = torch.zeros(self.batch, *data.shape[1:], dtype=self.dtype, device=self.device)
        before = self.now[name][alive][None]
        if not len(data):
            return before
        after = before + data.unflatten(0, (-1, len(alive))).cumsum(0)
        self.now[name] = spread(after[-1], self.now[name], alive, 0)
        return after

    def difference(self, node: g.Node, x: Train, alive: torch.Tensor, steps: int) -> Train:
        """f(sum at t) - f(sum at t-1) of a chunk; spikes stay spikes where f is a max pool."""
        stay_spikes = x.is_spikes and isinstance(node, g.MaxPool)
        if stay_spikes and compiled(self.device):
            return self._pool(node, x, alive, steps)
        if not len(x.data) and node.name in self.before:
            shape = nhwc(self.before[node.name]).shape[1:]
            none = torch.empty(0, *shape, dtype=torch.uint8 if stay_spikes else self.dtype, device=self.device)
            return Train(none, x.zero if stay_spikes else 0)
        sums = self.add_up(node.name, Train(x.filled(steps * len(alive)), x.zero), alive)
        after = node.compute(sums.flatten(0, 1)).unflatten(0, sums.shape[:2])
        if node.name not in self.before:
            self.before[node.name] = after.new_zeros(self.batch, *after.shape[2:])
        moved = after.diff(dim=0, prepend=self.before[node.name][alive][None])
        self.before[node.name] = spread(after[-1], self.before[node.name], alive, 0)
        data = nhwc(moved.flatten(0, 1))
        return Train((data + x.zero).to(torch.uint8), x.zero) if stay_spikes else Train(data)

    def _pool(self, node: g.MaxPool, x: Train, alive: torch.Tensor, steps: int) -> Train:
        """`difference` of a max pool by its kernel."""
        if node.name not in self.before:
            example = nchw(x.data.new_empty(1, *x.data.shape[1:], device="meta"))
            shape = node.compute(example.float()).shape
            self.now[node.name] = torch.zeros(self.batch, *x.data.shape[1:], dtype=torch.int16, device=self.device)
            self.before[node.name] = self.now[node.name].new_zeros(self.batch, *shape[2:], shape[1])
        counts, before = self.now[node.name], self.before[node.name]
        if not len(x.data):
            return Train(x.data.new_empty(0, *before.shape[1:]), x.zero)
        spikes = x.data.unflatten(0, (steps, -1))
        geometry = (node.kernel, node.stride, node.padding, node.dilation)
        out = pool(spikes, x.zero, counts, before, alive, geometry)
        return Train(out.flatten(0, 1), x.zero)
