"""What each node without memory does to its inputs, shared by the ANN twin and the spiking engine.

All of these are linear, so they mean the same on spikes and on counts, except `MaxPool` and `Pointwise`, which the
spiking engine applies to running sums (temporal difference).
"""

import torch
from torch.nn import functional as F

from casc_det import graph as g


def convolve(node: g.Conv, x: torch.Tensor, integer: bool = False) -> torch.Tensor:
    """The convolution without its bias, in the dtype of `x`.

    integer: of integers, whose sums stay below 2^24 (`graph.bounds`): then the result is exact on every device. On
    CPUs products are added as they are, which float32 does without error. A GPU may drop bits of the factors (TF32) or
    add fractions (Winograd, FFT), whose errors float32 does not keep below 1/2. So other devices compute in float64,
    which has no TF32 and errors of 2^-53 of the sums, a millionth of 1/2 in any algorithm, and then round.
    """
    geometry = (node.stride, node.padding, node.dilation, node.groups)
    if x.device.type == "cpu":
        return F.conv2d(x, node.weight, None, *geometry)
    y = F.conv2d(x.double(), node.weight.double(), None, *geometry)
    return (y.round_() if integer else y).to(x.dtype)


def apply(node: g.Node, *inputs: torch.Tensor) -> torch.Tensor:
    """The value of a node that is neither Input, Conv, Neuron nor Readout."""
    x = inputs[0]
    match node:
        case g.MaxPool():
            return F.max_pool2d(x, node.kernel, node.stride, node.padding, node.dilation, node.ceil_mode)
        case g.AvgPool():
            return F.avg_pool2d(x, node.kernel, node.stride, node.padding, divisor_override=node.divisor)
        case g.Pointwise():
            return g.POINTWISE[node.function](x * node.scale)
        case g.Add():
            return x + inputs[1]
        case g.Concat():
            return torch.cat(inputs, 1)
        case g.Upsample():
            return F.interpolate(x, scale_factor=tuple(float(s) for s in node.scale), mode="nearest")
        case g.ZeroPad():
            return F.pad(x, node.padding)
        case g.Slice():
            return x[:, node.start : node.stop]
    raise TypeError(f"no rule for node type {type(node).__name__}")


TEMPORAL = (g.MaxPool, g.Pointwise)  # not linear: on spikes f(sum at t) - f(sum at t-1)
