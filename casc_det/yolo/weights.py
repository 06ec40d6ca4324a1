"""Weights to start from: into a network of Ultralytics, from a checkpoint, a state dict or a spiking graph."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from casc_det.conversion.integer import to_real
from casc_det.conversion.spiking import real_weights
from casc_det.errors import WeightsError
from casc_det.graph import Neuron
from casc_det.graph.file import KEY, load_graph, opened
from casc_det.neurons.activation import CQ
from casc_det.yolo.checkpoint import read_checkpoint, read_state
from casc_det.yolo.network import description_of

MOST_MISSING = 0.2  # share of the tensors that may start at random


def is_folded(state: dict[str, torch.Tensor]) -> bool:
    """Whether BatchNorm is folded into the convolutions of this state dict."""
    return not any(".bn." in key for key in state)


def is_spiking(path: str | Path) -> bool:
    """Whether a file is a spiking graph of `casc-det convert`."""
    try:
        with opened(path) as file:
            return KEY in (file.metadata() or {})
    except WeightsError:
        return False


def read_spiking(path: str | Path, model: DetectionModel) -> dict[str, torch.Tensor]:
    """A spiking graph as a state dict of `model` with folded BatchNorm, clips or steps included."""
    graph = to_real(load_graph(path, torch.float64))
    modules = dict(model.named_modules())
    keys = {name.replace(".", "_"): name for name in modules}
    state: dict[str, torch.Tensor] = {}
    for name, (weight, bias) in real_weights(graph).items():
        if name in keys:
            state |= {f"{keys[name]}.weight": weight.float(), f"{keys[name]}.bias": bias.float()}
    for neuron in graph.of_type(Neuron):
        key = keys.get(neuron.name, "")
        if isinstance(site := modules[key], CQ):
            state[f"{key}.{site.LEARNED}"] = neuron.lam * (site.learned / site.clip).detach()
    return state


def load_float(
    model: DetectionModel, path: str | Path, images: Iterable[torch.Tensor], trust: bool = False
) -> list[str]:
    """Load the weights of `path` into `model` (Ultralytics architecture with BatchNorm), in place.

    The file is an Ultralytics `.pt`, a `.safetensors` state dict, or a spiking graph of `casc-det convert`, whose
    clips go into the model's CQ sites. From folded BatchNorm the normalisation is restored: running mean and
    variance are those of each convolution's output on `images`, and scale and shift are set so that in eval mode
    nothing changes.

    Args:
        images: iterable of (B, 3, H, W) in 0..1, used only where BatchNorm is folded.
        trust: see `read_checkpoint`.

    Returns:
        The names of the model's parameters for which the file had no value of that shape.
    """
    if Path(path).suffix != ".safetensors":
        model.load(read_checkpoint(path, trust), verbose=False)
        return []
    state = read_spiking(path, model) if is_spiking(path) else read_state(path)
    usable, missing = _fitting(model, state)
    if not usable:
        name = description_of(model).get("yaml_file", "the model")
        raise WeightsError(f"weights: '{path}' fits no layer of {name}; use its own architecture")
    model.load_state_dict(usable, strict=False)
    if is_folded(state):
        _restore_batchnorm(model, state, images)
    return missing


def _fitting(model: nn.Module, state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors of a state dict that a network can take, and the names of those of its own that get no value."""
    own = model.state_dict()
    usable = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    known = (".lam", ".delta", "num_batches_tracked", "dfl", *((".bn.",) if is_folded(state) else ()))
    return usable, [key for key in own if key not in usable and not any(part in key for part in known)]


def check_fit(model: DetectionModel, path: str | Path, trust: bool = False) -> None:
    """Raise WeightsError where the file has no value for more than `MOST_MISSING` of a network outside its class head.

    The class head (`cv3`) is built for the number of classes, which may differ.
    """
    if Path(path).suffix != ".safetensors":
        state = read_checkpoint(path, trust).state_dict()
    else:
        state = read_spiking(path, model) if is_spiking(path) else read_state(path)
    outside = lambda names: [name for name in names if "cv3." not in name]
    usable, missing = (outside(names) for names in _fitting(model, state))
    if len(missing) > MOST_MISSING * len(usable + missing):
        raise WeightsError(
            f"weights: '{path}' has no value for {len(missing)} of {len(usable + missing)} tensors of "
            f"{description_of(model).get('yaml_file', 'the model')} ({len(missing) / len(usable + missing):.0%}, "
            "class head not counted); these are weights of another architecture: give its name as model="
        )


@torch.no_grad()
def _restore_batchnorm(model: nn.Module, state: dict[str, torch.Tensor], images: Iterable[torch.Tensor]) -> None:
    """Undo the folding of BatchNorm, so that in eval mode nothing changes.

    With mean m and variance v of a convolution's output without its bias b, the BatchNorm behind it gets running mean
    m, running variance v, scale sqrt(v + eps) and shift m + b.
    """
    norms: dict[nn.BatchNorm2d, torch.Tensor] = {}
    sums: dict[nn.Module, tuple[float, torch.Tensor, torch.Tensor]] = {}  # values, their sum and that of their squares
    for name, norm in model.named_modules():
        bias = state.get(name.removesuffix(".bn") + ".conv.bias") if name.endswith(".bn") else None
        if isinstance(norm, nn.BatchNorm2d) and bias is not None and bias.shape == norm.bias.shape:
            norms[norm] = bias = bias.to(norm.bias.device)
            ones = torch.ones_like(bias)
            _set(norm, 0 * ones, (1 - norm.eps) * ones, ones, bias)

    def observe(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].double()
        zero = x.new_zeros(x.shape[1])
        n, s, q = sums.get(norm, (0.0, zero, zero))
        sums[norm] = (n + x.numel() / x.shape[1], s + x.sum((0, 2, 3)), q + (x * x).sum((0, 2, 3)))

    hooks = [norm.register_forward_pre_hook(observe) for norm in norms]
    model.eval()
    for batch in images:
        model(batch)
    for hook in hooks:
        hook.remove()
    for norm, bias in norms.items():
        n, s, q = sums[norm]
        mean, variance = s / n, (q / n - (s / n) ** 2).clamp(min=1e-6)
        _set(norm, mean, variance, torch.sqrt(variance + norm.eps), mean + bias)


def _set(
    norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> None:
    """Give a BatchNorm its statistics and parameters, (C,) each."""
    places = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    for own, value in zip(places, (mean, variance, scale, shift), strict=True):
        if own is not None:
            own.copy_(value)
