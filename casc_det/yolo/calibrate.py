"""Clips of a CQ network, fitted to what its sites get of images; no labels are needed.

A clip is the one with the least squared difference between CQ and the function that it quantises, over values z that
its site gets; sites that share it are fitted together. `calibrate_clips` does just that, where a training begins.
`calibrate`, for conversion without a training, weights each difference by what it does to the readout: by the square
of the gradient of random projections of the readout (a diagonal of the Fisher information, as in AdaRound's and
BRECQ's objectives, Li et al., arXiv 2102.05426). Class scores count by the slope p (1 - p) of their probability, boxes
by the best one of their place.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from casc_det.errors import TrainingError
from casc_det.neurons.activation import CQ, quantised
from casc_det.yolo.install import cq_sites
from casc_det.yolo.network import raw_outputs

SAMPLE = 20_000  # values of a site in a batch that its clip is fitted to
VALUES = 480_000  # of a site that are kept of all images of a calibration
CLIPS = torch.logspace(0, -2, 81)  # shares of the largest value that are tried
BOX_WEIGHT = 0.25  # of box distributions, in those of class scores
PROJECTIONS = 2  # of each readout


class Sample(NamedTuple):
    """Values z that a site gets, (N,), and the weight of each, or None where all weigh the same."""

    z: torch.Tensor
    weight: torch.Tensor | None = None


Samples = dict[CQ, list[Sample]]


def untrained_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers whose statistics are still those they are built with, mean 0 and variance 1."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    return [m for m in norms if not _any(m.running_mean) and not _any(m.running_var, 1)]


def _any(statistics: torch.Tensor | None, least: float = 0) -> bool:
    """Whether a statistic of a BatchNorm has another value than it is built with."""
    return statistics is not None and bool((statistics != least).any())


@torch.no_grad()
def calibrate_clips(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Initialise every clip from data: the one with which CQ is nearest to its function on the site's inputs.

    BatchNorm layers that were never trained normalise by the statistics of each batch, as they will in training, and
    keep their mean over the batches: with mean 0 and variance 1 the activations of a network with random weights fade
    away layer by layer, and so would the clips.

    Args:
        model: has CQ; sites that still know their old activation pass that on, others pass their function.
        batches: an iterable of images (B, 3, H, W), 0..1.

    Raises:
        TrainingError: a site gets values that are not finite.
    """
    samples: Samples = {}

    def observe(site: CQ, z: torch.Tensor) -> torch.Tensor:
        samples.setdefault(site, []).append(Sample(_sample(z.detach().float().flatten())))
        return site.unquantised(z)

    fresh = untrained_norms(model)
    was_training, momenta = model.training, [norm.momentum for norm in fresh]
    model.eval()
    for norm in fresh:
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    try:
        with observed(model, observe):
            for batch in batches:
                model(batch)
    finally:
        for norm, momentum in zip(fresh, momenta, strict=True):
            norm.momentum = momentum
        model.train(was_training)
    _fit(samples)


def calibrate(model: nn.Module, images: Sequence[torch.Tensor], seed: int = 0) -> Iterator[int]:
    """Fit every clip so that the readout stays what it is; yields the number of images seen after each.

    Args:
        model: in eval mode, its CQ know their old activations.
        images: (1, 3, H, W) each, 0..1. seed: of the projections.

    Raises:
        TrainingError: a site gets values that are not finite.
    """
    generator, most = torch.Generator().manual_seed(seed), -(-VALUES // len(images))
    samples: Samples = {site: [] for site in cq_sites(model)}
    for done, image in enumerate(images, 1):
        for site, sample in _sensitive(model, image, most, generator).items():
            samples[site].append(sample)
        yield done
    with torch.no_grad():
        _fit(samples)


@torch.enable_grad()
def _sensitive(model: nn.Module, image: torch.Tensor, most: int, generator: torch.Generator) -> dict[CQ, Sample]:
    """What each site of the float network gets of an image, and how much the readout depends on what it gives; at most
    so many values."""
    values: dict[CQ, torch.Tensor] = {}
    outputs: dict[CQ, torch.Tensor] = {}

    def observe(site: CQ, z: torch.Tensor) -> torch.Tensor:
        values[site] = _sample(z.detach().flatten(), most)
        outputs[site] = a = site.unquantised(z).requires_grad_()
        return a

    with observed(model, observe):
        raw = raw_outputs(model(image))
    squares = {site: torch.zeros_like(a) for site, a in outputs.items()}
    for _ in range(PROJECTIONS):
        gradients = torch.autograd.grad(_projection(raw, generator), list(outputs.values()), retain_graph=True)
        for site, gradient in zip(outputs, gradients, strict=True):
            squares[site] += gradient.square()
    return {site: Sample(values[site], _sample(square.flatten(), most)) for site, square in squares.items()}


def _projection(raw: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """A random sum of the readout; the square of its gradient is in the mean the sum of those of all its parts."""
    scores, boxes = raw["scores"], raw["boxes"]
    p = scores.detach().sigmoid()
    signs = [torch.randn(x.shape, generator=generator).to(x) for x in (scores, boxes)]
    weights = (p * (1 - p)).sqrt(), BOX_WEIGHT * p.amax(1, keepdim=True).sqrt()
    return (signs[0] * weights[0] * scores).sum() + (signs[1] * weights[1] * boxes).sum()


@contextmanager
def observed(model: nn.Module, observe: Callable[[CQ, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Every site gives what `observe` gives of it and of its input, which it may write to."""
    sites = cq_sites(model)
    for site in sites:
        vars(site)["forward"] = partial(observe, site)
    try:
        yield
    finally:
        for site in sites:
            del vars(site)["forward"]


def _sample(z: torch.Tensor, most: int = SAMPLE) -> torch.Tensor:
    """At most so many of the values, evenly spread.

    Raises:
        TrainingError: some are not finite.
    """
    if not bool(torch.isfinite(z).all()):
        raise TrainingError(
            "weights: the network gives values that are not finite on the images of data=; start from other weights="
        )
    return z[:: -(-z.numel() // most)].clone()


def _fit(samples: Samples) -> None:
    """Give all sites their best clips; sites that share one are fitted together."""
    groups: dict[nn.Parameter, list[CQ]] = {}
    for site in samples:
        groups.setdefault(site.learned, []).append(site)
    for sites in groups.values():
        parts = [sample for site in sites for sample in samples[site]]
        values = torch.cat([site.plain(sample.z) for site in sites for sample in samples[site]])
        weights = [sample.weight for sample in parts if sample.weight is not None]
        largest = max(float(sample.z.abs().max()) for sample in parts)
        clip = best_clip(values, sites[0].levels, torch.cat(weights) if weights else None)
        sites[0].set_clip(clip or largest or 1.0)


def best_clip(f: torch.Tensor, levels: int, weight: torch.Tensor | None = None) -> float:
    """The clip with the least squared difference between values `f` of a function and their CQ, (N,); 0 of zeros only.

    weight: of each difference; None: all weigh the same.
    """
    weight = torch.ones_like(f) if weight is None else weight
    f, weight = f[f != 0], weight[f != 0]
    if not len(f):
        return 0.0
    clips = float(f.abs().max()) * CLIPS
    errors = [float((quantised(f, clip / levels, levels) - f).square().mul_(weight).sum()) for clip in clips]
    return float(clips[errors.index(min(errors))])
