"""CQReLU, the clipped quantised ReLU that a CIF neuron reproduces exactly.

    a = lam/Q * n,   n = clip(floor(Q*z/lam + 1/2), 0, Q)          (CASC, arXiv 2406.05371)

`lam` is the learnable clip, `Q` the number of levels. The floor has a straight-through gradient:
da/dz = 1 inside (0, lam), else 0; da/dlam = n/Q - z/lam inside, 1 above, 0 below. A clip gathers the gradients of all
neurons of its layer; `CQReLU` scales their sum by 1/sqrt(neurons * Q) (LSQ, Esser et al., arXiv 1902.08153, section
2.2), or it would outweigh the convolutions' in the norm by which gradients are clipped.
"""

import math
from typing import Any

import torch
from torch import nn

from casc_det.base.arguments import is_integer
from casc_det.errors import ArgumentError

MAX_LEVELS = 64
MIN_CLIP = 1e-4


def check_levels(levels: object) -> int:
    """Return `levels` (Q), or raise ArgumentError when it is not an integer from 1 to 64."""
    if not is_integer(levels, 1, MAX_LEVELS):
        raise ArgumentError(
            f"levels: expected an integer from 1 to {MAX_LEVELS}, got {levels!r}; typical are 4, 8 and 16"
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
        ctx.lam_dtype, ctx.gradient_scale = lam.dtype, gradient_scale
        return a

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        z, a, clip = ctx.saved_tensors
        grad_z = torch.ops.aten.hardtanh_backward(grad, z, 0.0, clip.item())
        grad_lam = None
        if ctx.needs_input_grad[1]:  # sum(grad * (a - inside*z)) / lam: the three cases of the docstring in one
            grad_lam = (
                torch.mul(grad, a).sum(dtype=torch.float32) - torch.mul(grad_z, z).sum(dtype=torch.float32)
            ) / clip
            grad_lam = (grad_lam * ctx.gradient_scale).to(ctx.lam_dtype).reshape(clip.shape)
        return grad_z, grad_lam, None, None


def cqrelu(z: torch.Tensor, lam: torch.Tensor, levels: int, gradient_scale: float = 1.0) -> torch.Tensor:
    """CQReLU of `z` (any shape) with clip `lam` (a scalar tensor) and `levels` Q; differentiable in both.

    gradient_scale: what the gradient of `lam` is multiplied by.
    """
    return _CQReLUFunction.apply(z, lam, levels, gradient_scale)


class CQReLU(nn.Module):
    """The activation of one site of the network.

    Args:
        levels: Q, from 1 to 64.
        lam: initial clip, a positive float, or the `nn.Parameter` of another site to share it.
        original: the activation that stood here before; with `alpha` below 1 the output is the mixture
            `(1-alpha)*original(z) + alpha*CQReLU(z)` ("progressive activation").

    Attributes:
        alpha: share of CQReLU in the output, 0..1; 1 (pure CQReLU) unless training sets it.
    """

    def __init__(self, levels: int, lam: float | nn.Parameter = 1.0, original: nn.Module | None = None) -> None:
        super().__init__()
        self.levels = check_levels(levels)
        self.lam = lam if isinstance(lam, nn.Parameter) else nn.Parameter(torch.tensor(float(lam)))
        self.original = original
        self.alpha = 1.0

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The activation of `z`, any shape."""
        if self.alpha <= 0 and self.original is not None:
            return self.original(z)
        gradient_scale = 1 / math.sqrt(z.numel() * self.levels) if z.numel() else 1.0
        spiking = cqrelu(z, self.lam.clamp(min=MIN_CLIP), self.levels, gradient_scale)
        if self.alpha >= 1 or self.original is None:
            return spiking
        return torch.lerp(self.original(z), spiking, self.alpha)

    def extra_repr(self) -> str:
        """What `repr` shows in the brackets."""
        return f"levels={self.levels}, lam={self.lam.item():.4g}, alpha={self.alpha:.3g}"
