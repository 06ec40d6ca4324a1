"""Put CQReLU into an Ultralytics detection model: one module per site, shared clips where activations are added."""

import copy
import operator

import torch
from torch import fx, nn
from ultralytics.nn.tasks import DetectionModel

from casc_det.errors import ConversionError
from casc_det.neurons.activation import CQReLU, check_levels
from casc_det.yolo.trace import modules_of, trace

REPLACED = (nn.SiLU, nn.ReLU, nn.LeakyReLU)
ADDITIONS = (operator.add, operator.iadd, torch.add)


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
