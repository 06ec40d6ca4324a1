"""Put CQ activations into an Ultralytics detection model: one module per site, shared where activations are added."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from ultralytics.nn.tasks import DetectionModel

from casc_det.base.arguments import check_one_of
from casc_det.errors import ConversionError
from casc_det.neurons.activation import CQ, CQReLU, check_levels
from casc_det.yolo.trace import modules_of, trace

KEEP, RELU = ACTIVATIONS = ("keep", "relu")  # what a site follows: its own function, or CQReLU
REPLACED: dict[type[nn.Module], Callable[[Any], str]] = {  # by the type itself: ReLU6 inherits from Hardtanh
    nn.SiLU: lambda module: "silu",
    nn.ReLU: lambda module: "relu",
    nn.LeakyReLU: lambda module: f"leaky_relu({module.negative_slope})",
    nn.ReLU6: lambda module: "relu6",
    nn.Hardswish: lambda module: "hardswish",
    nn.GELU: lambda module: "gelu" if module.approximate == "none" else "gelu_tanh",
    nn.Mish: lambda module: "mish",
    nn.Hardtanh: lambda module: f"hardtanh({module.min_val}, {module.max_val})",
}
HOMES = (nn.SiLU.__module__, "ultralytics.nn.modules.activation")  # where classes of activations are written
OTHERS = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Softmax, nn.MultiheadAttention)  # of these, which capture judges
ADDITIONS = (operator.add, operator.iadd, torch.add)


def install_cq(model: DetectionModel, levels: int, activation: str = KEEP) -> int:
    """Replace every activation of `REPLACED` in `model`, in place, by a `CQ` of its own; return how many.

    Activations that meet in an addition share one learned parameter. The head's last convolutions have no activation
    and stay linear. Each site keeps a copy of its old activation, for calibration and mixing (`CQ.alpha`).

    Args:
        activation: "keep": each site follows the function that it had; "relu": each is a `CQReLU`, as in the paper.

    Raises:
        ArgumentError: `levels` is not in 1..64, or `activation` is none of the two.
        ConversionError: the model has no site to replace, has CQ already, or has an activation that is not known.
    """
    check_levels(levels)
    check_one_of(ACTIVATIONS, activation=activation)
    if cq_sites(model):
        raise ConversionError("model: it has CQ activations already; nothing was replaced")
    known = ", ".join(kind.__name__ for kind in REPLACED)
    for name, module in model.named_modules():
        kind = type(module)
        if kind.__module__ in HOMES and kind not in (*REPLACED, *OTHERS):
            raise ConversionError(f"model: layer '{name}' has the activation {kind.__name__}; known are {known}")
    sites = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if child is not None and type(child) in REPLACED
    ]  # by parent and name: the one object that Ultralytics shares is found at each of its call sites
    if not sites:
        raise ConversionError(f"model: no activation was found to replace ({known}); is this an Ultralytics detector?")
    trace(model)  # raises before anything is replaced
    for parent, name, child in sites:
        original, function = copy.deepcopy(child), REPLACED[type(child)](child)
        site = CQ(function, levels, 1 / levels, original) if activation == KEEP else CQReLU(levels, original=original)
        setattr(parent, name, site)
    _share(model)
    return len(sites)


def _share(model: DetectionModel) -> None:
    """Give activations whose outputs are added (through slices, pads, pools, upsampling) the same learned parameter."""
    traced = trace(model)
    modules = modules_of(traced)
    sources: dict[fx.Node, set[CQ]] = {}
    groups: list[set[CQ]] = []
    for node in traced.graph.nodes:
        module = modules.get(node.name)
        reached = set().union(*(sources[n] for n in node.all_input_nodes))
        if isinstance(module, CQ):
            sources[node] = {module}
        elif isinstance(module, nn.Conv2d) or node.op == "output":
            sources[node] = set()
        else:
            sources[node] = reached
            if node.target in ADDITIONS and reached:
                merged = reached.union(*(group for group in groups if group & reached))
                groups = [group for group in groups if not group & reached] + [merged]
    for group in groups:
        first = next(site for site in cq_sites(model) if site in group)
        for site in group:
            site.share(first)


def cq_sites(model: nn.Module) -> list[CQ]:
    """All CQ modules of a model, in order."""
    return [m for m in model.modules() if isinstance(m, CQ)]


def set_alpha(model: nn.Module, alpha: float) -> None:
    """Set the share of CQ in every site's output (progressive activation), 0..1."""
    for site in cq_sites(model):
        site.alpha = alpha
