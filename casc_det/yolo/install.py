"""Put CQReLU into an Ultralytics detection model: one module per site, shared clips where activations are added."""

import copy
import operator

import torch
from torch import fx, nn
from ultralytics.nn.tasks import DetectionModel

from casc_det.activation import CQReLU, check_levels
from casc_det.errors import ConversionError
from casc_det.yolo.capture import trace

REPLACED = (nn.SiLU, nn.ReLU, nn.LeakyReLU)
ADDITIONS = (operator.add, operator.iadd, torch.add)
PERCENTILE = 0.999


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
    modules = dict(traced.named_modules())
    sources: dict[fx.Node, set[CQReLU]] = {}
    groups: list[set[CQReLU]] = []
    for node in traced.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
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


@torch.no_grad()
def calibrate_clips(model: nn.Module, batches, percentile: float = PERCENTILE) -> None:
    """Initialise every clip `lam` from data: the given percentile of the site's positive inputs, before CQReLU.

    Args:
        model: has CQReLU; sites that still know their old activation pass that on, others pass the ReLU.
        batches: an iterable of pictures (B, 3, H, W), 0..1.
        percentile: 0..1; of clips that are shared, the largest counts.
    """
    highest: dict[nn.Parameter, list[float]] = {}

    def observe(module: CQReLU, inputs):
        z = inputs[0].float().flatten()
        positive = z[z > 0]
        if positive.numel() > 1_000_000:
            positive = positive[torch.randint(positive.numel(), (1_000_000,), device=z.device)]
        value = positive.quantile(percentile).item() if positive.numel() else 0.0
        highest.setdefault(module.lam, []).append(value)

    def pass_on(module: CQReLU, inputs, output):
        return module.original(inputs[0]) if module.original is not None else inputs[0].relu()

    sites = cqrelu_sites(model)
    hooks = [s.register_forward_pre_hook(observe) for s in sites] + [s.register_forward_hook(pass_on) for s in sites]
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    sharing: dict[nn.Parameter, int] = {}
    for site in sites:
        sharing[site.lam] = sharing.get(site.lam, 0) + 1
    for lam, values in highest.items():
        per_site = [sum(values[i :: sharing[lam]]) / len(values[i :: sharing[lam]]) for i in range(sharing[lam])]
        lam.fill_(max(max(per_site), 1e-2))
