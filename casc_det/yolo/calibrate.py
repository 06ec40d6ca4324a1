"""The first clips of a CQReLU network: fitted to what its sites get, of images."""

from collections.abc import Iterable

import torch
from torch import nn

from casc_det.errors import TrainingError
from casc_det.neurons.activation import CQReLU, cqrelu_counts
from casc_det.yolo.install import cqrelu_sites

SAMPLE = 20_000  # values of a site in a batch that its clip is fitted to
CLIPS = torch.logspace(0, -2, 81)  # shares of the largest value that are tried


def untrained_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers whose statistics are still those they are built with, mean 0 and variance 1."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    return [m for m in norms if not _any(m.running_mean) and not _any(m.running_var, 1)]


def _any(statistics: torch.Tensor | None, least: float = 0) -> bool:
    """Whether a statistic of a BatchNorm has another value than it is built with."""
    return statistics is not None and bool((statistics != least).any())


@torch.no_grad()
def calibrate_clips(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Initialise every clip `lam` from data: the one with which CQReLU is nearest to ReLU on the site's inputs.

    BatchNorm layers that were never trained normalise by the statistics of each batch, as they will in training, and
    keep their mean over the batches: with mean 0 and variance 1 the activations of a network with random weights fade
    away layer by layer, and so would the clips.

    Args:
        model: has CQReLU; sites that still know their old activation pass that on, others pass the ReLU.
        batches: an iterable of images (B, 3, H, W), 0..1.

    Raises:
        TrainingError: a site gets values that are not finite.
    """
    seen: dict[nn.Parameter, list[torch.Tensor]] = {}

    def observe(module: CQReLU, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.setdefault(module.lam, []).append(_sample(inputs[0].detach().float().flatten()))

    def pass_on(module: CQReLU, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return module.original(inputs[0]) if module.original is not None else inputs[0].relu()

    sites, fresh = cqrelu_sites(model), untrained_norms(model)
    hooks = [s.register_forward_pre_hook(observe) for s in sites] + [s.register_forward_hook(pass_on) for s in sites]
    was_training, momenta = model.training, [norm.momentum for norm in fresh]
    model.eval()
    for norm in fresh:
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    try:
        for batch in batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(fresh, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)
    levels = {site.lam: site.levels for site in sites}
    for lam, parts in seen.items():  # sites that share a clip are fitted together
        lam.fill_(best_clip(torch.cat(parts), levels[lam]))


def _sample(z: torch.Tensor) -> torch.Tensor:
    """At most `SAMPLE` of the values, evenly spread.

    Raises:
        TrainingError: some are not finite.
    """
    if not bool(torch.isfinite(z).all()):
        raise TrainingError(
            "weights: the network gives values that are not finite on the images of data=; start from other weights="
        )
    return z[:: -(-z.numel() // SAMPLE)].clone()


def best_clip(z: torch.Tensor, levels: int) -> float:
    """The clip with the smallest squared difference between CQReLU and ReLU of the values `z`, (N,).

    Where no value is positive, the largest magnitude; 1 where all are zero.
    """
    positive = z[z > 0]
    if not len(positive):
        return float(z.abs().max()) or 1.0
    clips = float(positive.max()) * CLIPS
    errors = [
        float((cqrelu_counts(positive, clip, levels).mul_(clip / levels) - positive).square().sum()) for clip in clips
    ]
    return float(clips[errors.index(min(errors))])
