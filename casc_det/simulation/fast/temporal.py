"""Running sums over time in the fast engine: what readouts add up, and nodes that send the differences of f(sum).

`images` below: indices of the B images that run; sums and what was sent are those of `State`, of all images.
"""

import torch

from casc_det import graph as g
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.counting import pool
from casc_det.simulation.fast.memory import Memory
from casc_det.simulation.fast.signals import Signal, nchw, nhwc, spread


def add_up(memory: Memory, name: str, data: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Running sums (K, images, C, H, W) of floats (K*images, C, H, W); (1, ...) if nothing came."""
    if name not in memory.sums:
        memory.sums[name] = data.new_zeros(len(memory.pixels), *data.shape[1:])
    memory.sums[name] = memory.sums[name].to(data.dtype)  # counts of a state from where loops are compiled
    before = memory.sums[name][images][None]
    if not len(data):
        return before
    after = before + data.unflatten(0, (-1, len(images))).cumsum(0)
    memory.sums[name] = spread(after[-1], memory.sums[name], images, 0)
    return after


def difference(memory: Memory, node: g.Node, x: Signal, images: torch.Tensor, steps: int) -> Signal:
    """f(sum at t) - f(sum at t-1) of a chunk; spikes stay spikes where f is a max pool."""
    stay_spikes = x.is_spikes and isinstance(node, g.MaxPool)
    if x.is_spikes and isinstance(node, g.MaxPool) and compiled(x.data.device):
        return _pool(memory, node, x, images, steps)
    dtype = memory.pixels.dtype
    if not len(x.data) and node.name in memory.sent:
        none = nhwc(memory.sent[node.name][:0])
        return Signal(none.to(torch.uint8), x.zero) if stay_spikes else Signal(none)
    floats = Signal(x.filled(steps * len(images)), x.zero).floats(dtype)
    sums = add_up(memory, node.name, nchw(floats), images)
    after = node.compute(sums.flatten(0, 1)).unflatten(0, sums.shape[:2])
    if node.name not in memory.sent:
        memory.sent[node.name] = after.new_zeros(len(memory.pixels), *after.shape[2:])
    memory.sent[node.name] = memory.sent[node.name].to(dtype)
    moved = after.diff(dim=0, prepend=memory.sent[node.name][images][None])
    memory.sent[node.name] = spread(after[-1], memory.sent[node.name], images, 0)
    data = nhwc(moved.flatten(0, 1))
    return Signal((data + x.zero).to(torch.uint8), x.zero) if stay_spikes else Signal(data)


def _pool(memory: Memory, node: g.MaxPool, x: Signal, images: torch.Tensor, steps: int) -> Signal:
    """`difference` of a max pool by its compiled form; sums are int16 counts."""
    if node.name not in memory.sent:
        batch, shape = len(memory.pixels), x.data.shape[1:]
        pooled = node.compute(nchw(torch.empty(1, *shape, device="meta"))).shape
        counts = x.data.new_zeros(batch, *shape, dtype=torch.int16)
        before = x.data.new_zeros(batch, *pooled[2:], pooled[1], dtype=torch.int16)
    else:
        counts, before = (nhwc(part[node.name].to(torch.int16)) for part in (memory.sums, memory.sent))
    memory.sums[node.name], memory.sent[node.name] = nchw(counts), nchw(before)
    if not len(x.data):
        return Signal(x.data.new_empty(0, *before.shape[1:]), x.zero)
    geometry = (node.kernel, node.stride, node.padding, node.dilation)
    out = pool(x.data.unflatten(0, (steps, -1)), x.zero, counts, before, images, geometry)
    return Signal(out.flatten(0, 1), x.zero)
