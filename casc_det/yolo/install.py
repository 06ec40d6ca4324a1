"""Put CQReLU into an Ultralytics detection model: one module per site, shared clips where activations are added."""

import copy
import operator

import torch
from torch import fx, nn
from ultralytics.nn.tasks import DetectionModel

from casc_det.errors import ConversionError, TrainingError
from casc_det.neurons.activation import CQReLU, check_levels, cqrelu_counts
from casc_det.yolo.trace import modules_of, trace

REPLACED = (nn.SiLU, nn.ReLU, nn.LeakyReLU)
ADDITIONS = (operator.add, operator.iadd, torch.add)
SAMPLE = 20_000  # values of a site in a batch that its clip is fitted to
CLIPS = torch.logspace(0, -2, 81)  # shares of the largest value that are tried


def install_cqrelu(model: DetectionModel, levels: int) -> int:
    """Replace every SiLU, ReLU and LeakyReLU of `model`, in place, by a `CQReLU` of its own; return how many.

    Activations that meet in an addition share one clip parameter. The head's last convolutions have no activation
    and stay linear. Each site keeps a copy of its old activation, for calibration and mixing (`CQReLU.alpha`).

    Raises:
        ArgumentError: `levels` is not in 1..64.
        ConversionError: the model has no site to replace, or has CQReLU already.
    """
    check_levels(levels)
    if any(isinstance(m, CQReLU) for m in model.modules()):
        raise ConversionError("model: it has CQReLU activations already; nothing was replaced")
    sites = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if isinstance(child, REPLACED)
    ]  # by parent and name: the one object that Ultralytics shares is found at each of its call sites
    if not sites:
        raise ConversionError(
            "model: no SiLU, ReLU or LeakyReLU was found to replace; is this an Ultralytics detector?"
        )
    trace(model)  # raises before anything is replaced
    for parent, name, child in sites:
        setattr(parent, name, CQReLU(levels, original=copy.deepcopy(child)))
    _share_clips(model)
    return len(sites)


def _share_clips(model: DetectionModel) -> None:
    """Give activations whose outputs are added (through slices, pads, pools, upsampling) the same clip parameter."""
    traced = trace(model)
    modules = modules_of(traced)
    sources: dict[fx.Node, set[CQReLU]] = {}
    groups: list[set[CQReLU]] = []
    for node in traced.graph.nodes:
        module = modules.get(node.name)
        reached = set().union(*(sources[n] for n in node.all_input_nodes))
        if isinstance(module, CQReLU):
            sources[node] = {module}
        elif isinstance(module, nn.Conv2d) or node.op == "output":
            sources[node] = set()
        else:
            sources[node] = reached
            if node.target in ADDITIONS and reached:
                merged = reached.union(*(group for group in groups if group & reached))
                groups = [group for group in groups if not group & reached] + [merged]
    for group in groups:
        shared = next(m for m in model.modules() if m in group).lam
        for module in group:
            module.lam = shared


def cqrelu_sites(model: nn.Module) -> list[CQReLU]:
    """All CQReLU modules of a model, in order."""
    return [m for m in model.modules() if isinstance(m, CQReLU)]


def set_alpha(model: nn.Module, alpha: float) -> None:
    """Set the share of CQReLU in every site's output (progressive activation), 0..1."""
    for site in cqrelu_sites(model):
        site.alpha = alpha


def untrained_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The BatchNorm layers whose statistics are still those they are built with, mean 0 and variance 1."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    return [m for m in norms if not m.running_mean.any() and bool((m.running_var == 1).all())]


@torch.no_grad()
def calibrate_clips(model: nn.Module, batches) -> None:
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

    def observe(module: CQReLU, inputs):
        seen.setdefault(module.lam, []).append(_sample(inputs[0].detach().float().flatten()))

    def pass_on(module: CQReLU, inputs, output):
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
