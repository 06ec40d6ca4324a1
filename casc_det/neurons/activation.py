"""CQ, the clipped quantised activation of a function f that a CIF neuron reproduces exactly, and CQReLU, that of ReLU.

    a = delta * n,   n = clip(floor(f(z)/delta + 1/2), n_min, Q),   clip = Q * delta

`delta` is the learned step, `Q` the number of levels, and n_min what rounding makes of the least value of f, which
needs no clip of its own (`casc_det.neurons.functions`). The floor has a straight-through gradient: da/dz = f'(z) where
|f(z)| < clip, else 0; da/ddelta = n - f(z)/delta there, else n.

CQReLU is the case f = ReLU (CASC, arXiv 2406.05371). It learns its clip `lam` = Q * delta, whose gradient is that of
delta divided by Q.

A step gathers the gradients of all neurons of its layer; both modules scale their sum by 1/sqrt(neurons * Q) (LSQ,
Esser et al., arXiv 1902.08153, section 2.2), or it would outweigh the convolutions' in the norm by which gradients are
clipped.
"""

import math
from typing import Any

import torch
from torch import nn

from casc_det.base.arguments import is_integer
from casc_det.errors import ArgumentError
from casc_det.neurons.functions import function_of, rounded_counts

MAX_LEVELS = 64
MIN_CLIP = 1e-4


def check_levels(levels: object) -> int:
    """Return `levels` (Q), or raise ArgumentError when it is not an integer from 1 to 64."""
    if not is_integer(levels, 1, MAX_LEVELS):
        raise ArgumentError(
            f"levels: expected an integer from 1 to {MAX_LEVELS}, got {levels!r}; typical are 8, 16 and 32"
        )
    return levels


def cqrelu_counts(z: torch.Tensor, lam: torch.Tensor, levels: int) -> torch.Tensor:
    """The integer `n` of CQReLU, in the dtype of `z`: the spike count that a CIF neuron ends with."""
    return torch.mul(z, levels / lam).add_(0.5).floor_().clamp_(0, levels)


class _CQReLUFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, lam: torch.Tensor, levels: int, gradient_scale: float) -> torch.Tensor:
        clip = lam.to(z.dtype)
        a = cqrelu_counts(z, clip, levels).mul_(clip / levels)
        ctx.save_for_backward(z, a, clip)
        ctx.learned_dtype, ctx.gradient_scale = lam.dtype, gradient_scale
        return a

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        z, a, clip = ctx.saved_tensors
        grad_z = torch.ops.aten.hardtanh_backward(grad, z, 0.0, clip.item())
        return grad_z, _learned_gradient(ctx, grad, grad_z, z, a, clip), None, None


def _learned_gradient(
    ctx: Any, grad: torch.Tensor, inner: torch.Tensor, z: torch.Tensor, a: torch.Tensor, learned: torch.Tensor
) -> torch.Tensor | None:
    """sum(grad * (a - inside*z)) / learned, all cases of the docstring in one; inner: grad * inside."""
    if not ctx.needs_input_grad[1]:
        return None
    total = torch.mul(grad, a).sum(dtype=torch.float32) - torch.mul(inner, z).sum(dtype=torch.float32)
    return (total / learned * ctx.gradient_scale).to(ctx.learned_dtype).reshape(learned.shape)


def cqrelu(z: torch.Tensor, lam: torch.Tensor, levels: int, gradient_scale: float = 1.0) -> torch.Tensor:
    """CQReLU of `z` (any shape) with clip `lam` (a scalar tensor) and `levels` Q; differentiable in both.

    gradient_scale: what the gradient of `lam` is multiplied by.
    """
    return _CQReLUFunction.apply(z, lam, levels, gradient_scale)


class _Quantised(torch.autograd.Function):
    """delta * n of values f of a function, n = clip(floor(f/delta + 1/2), -Q, Q)."""

    @staticmethod
    def forward(ctx: Any, f: torch.Tensor, delta: torch.Tensor, levels: int, gradient_scale: float) -> torch.Tensor:
        step = delta.to(f.dtype)
        a = rounded_counts(f, step, levels).mul_(step)
        ctx.save_for_backward(f, a, step)
        ctx.levels, ctx.learned_dtype, ctx.gradient_scale = levels, delta.dtype, gradient_scale
        return a

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        f, a, step = ctx.saved_tensors
        clip = step.item() * ctx.levels
        grad_f = torch.ops.aten.hardtanh_backward(grad, f, -clip, clip)
        return grad_f, _learned_gradient(ctx, grad, grad_f, f, a, step), None, None


def quantised(f: torch.Tensor, delta: torch.Tensor, levels: int, gradient_scale: float = 1.0) -> torch.Tensor:
    """delta * n of values `f` of a function (any shape) with step `delta` (a scalar tensor) and `levels` Q.

    Differentiable in both, straight through; gradient_scale: what the gradient of `delta` is multiplied by.
    """
    return _Quantised.apply(f, delta, levels, gradient_scale)


class CQ(nn.Module):
    """The activation of one site of the network.

    Args:
        function: its name, with its numbers where it takes some, such as "silu" or "leaky_relu(0.1)"; see
            `casc_det.neurons.functions.FUNCTIONS`.
        levels: Q, from 1 to 64.
        delta: initial step, a positive float.
        original: the activation that stood here before; with `alpha` below 1 the output is the mixture
            `(1-alpha)*original(z) + alpha*CQ(z)` ("progressive activation").

    Attributes:
        alpha: share of CQ in the output, 0..1; 1 (pure CQ) unless training sets it.

    Class attributes:
        LEARNED: the name of its one parameter, which sites share where their signals are added.
    """

    LEARNED = "delta"

    def __init__(self, function: str, levels: int, delta: float = 1.0, original: nn.Module | None = None) -> None:
        super().__init__()
        self.function = function_of(function).text
        self.levels = check_levels(levels)
        self.delta = nn.Parameter(torch.tensor(float(delta)))
        self.original = original
        self.alpha = 1.0

    @property
    def learned(self) -> nn.Parameter:
        """The parameter of that name."""
        return self.get_parameter(self.LEARNED)

    def share(self, other: "CQ") -> None:
        """Take the parameter of another site, of the same kind and levels, for its own."""
        setattr(self, self.LEARNED, other.learned)

    @property
    def clip(self) -> torch.Tensor:
        """What Q unit spikes stand for, Q * delta."""
        return self.learned * self.levels

    def set_clip(self, clip: float) -> None:
        """Put another clip in the place of the learned one, also for sites that share it."""
        self.learned.data.fill_(clip / self.levels)

    def plain(self, z: torch.Tensor) -> torch.Tensor:
        """f(z), neither clipped nor quantised."""
        return function_of(self.function)(z)

    def unquantised(self, z: torch.Tensor) -> torch.Tensor:
        """What the activation that stood here before gives, or f(z) where that is not known."""
        return self.plain(z) if self.original is None else self.original(z)

    def quantised(self, z: torch.Tensor, gradient_scale: float) -> torch.Tensor:
        """Its output for alpha = 1."""
        return quantised(self.plain(z), self.learned.clamp(min=MIN_CLIP / self.levels), self.levels, gradient_scale)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The activation of `z`, any shape."""
        if self.alpha <= 0 and self.original is not None:
            return self.original(z)
        spiking = self.quantised(z, 1 / math.sqrt(z.numel() * self.levels) if z.numel() else 1.0)
        if self.alpha >= 1 or self.original is None:
            return spiking
        return torch.lerp(self.original(z), spiking, self.alpha)

    def extra_repr(self) -> str:
        """What `repr` shows in the brackets."""
        learned = f"{self.LEARNED}={self.learned.item():.4g}"
        return f"{self.function}, levels={self.levels}, {learned}, alpha={self.alpha:.3g}"


class CQReLU(CQ):
    """CQ of ReLU, the activation of the paper, with a learned clip in place of a learned step.

    Args:
        levels: Q, from 1 to 64.
        lam: initial clip, a positive float, or the `nn.Parameter` of another site to share it.
        original: see `CQ`.
    """

    LEARNED = "lam"
    function = "relu"  # of the class: networks that were saved before CQ have no such attribute

    def __init__(self, levels: int, lam: float | nn.Parameter = 1.0, original: nn.Module | None = None) -> None:
        nn.Module.__init__(self)
        self.levels = check_levels(levels)
        self.lam = lam if isinstance(lam, nn.Parameter) else nn.Parameter(torch.tensor(float(lam)))
        self.original = original
        self.alpha = 1.0

    @property
    def clip(self) -> torch.Tensor:
        """What Q unit spikes stand for."""
        return self.lam

    def set_clip(self, clip: float) -> None:
        """See `CQ.set_clip`."""
        self.lam.data.fill_(clip)

    def quantised(self, z: torch.Tensor, gradient_scale: float) -> torch.Tensor:
        """See `CQ.quantised`."""
        return cqrelu(z, self.lam.clamp(min=MIN_CLIP), self.levels, gradient_scale)
