"""Read float or CQReLU networks: Ultralytics `.pt` checkpoints and plain `.safetensors` state dicts.

A `.pt` file is a pickle. Without `trust` only what detection models are made of is read from it, see `unpickle`.
"""

from pathlib import Path

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel, load_checkpoint

from casc_det.conversion.integer import to_real
from casc_det.conversion.spiking import real_weights
from casc_det.errors import CascError, WeightsError
from casc_det.graph import Neuron
from casc_det.graph.file import KEY, load_graph, opened
from casc_det.yolo.architecture import read_architecture
from casc_det.yolo.guard import guarded


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file in float32, or WeightsError."""
    with opened(path) as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    check_finite(state, path, "weights")
    return state


def check_finite(state: dict[str, torch.Tensor], path: str | Path, argument: str) -> None:
    """Raise WeightsError where a tensor of a network holds NaN, or an infinity that is no variance."""
    for key, value in state.items():
        wrong = value.isnan() if key.endswith("running_var") else ~value.isfinite()
        if bool(wrong.any()):
            raise WeightsError(
                f"{argument}: '{path}' has values of '{key}' that are not finite (NaN or infinite); its training has "
                "diverged: use an earlier checkpoint"
            )


def read_checkpoint(path: str | Path, trust: bool = False, argument: str = "weights") -> DetectionModel:
    """The detection model inside an Ultralytics `.pt` file, in float32, or WeightsError; every `.pt` is read here.

    Args:
        trust: allow what only a full unpickle does, which runs any code that is in the file; see `unpickle.load`.
        argument: the name that messages begin with.
    """
    try:
        with guarded(trust, argument):
            model = load_checkpoint(path)[0]
    except CascError:
        raise
    except Exception as error:  # a checkpoint of other content can raise anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{argument}: '{path}' is no Ultralytics checkpoint ({reason})") from error
    if not isinstance(model, DetectionModel):
        raise WeightsError(f"{argument}: '{path}' holds a {type(model).__name__}, expected a detection model")
    check_finite(model.state_dict(), path, argument)
    return model


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
    """A spiking graph as a state dict of `model` with folded BatchNorm, clips included."""
    graph = to_real(load_graph(path, torch.float64))
    keys = {name.replace(".", "_"): name for name, _ in model.named_modules()}
    state = {}
    for name, (weight, bias) in real_weights(graph).items():
        if name in keys:
            state |= {f"{keys[name]}.weight": weight.float(), f"{keys[name]}.bias": bias.float()}
    for neuron in graph.of_type(Neuron):
        if neuron.name in keys:
            state[f"{keys[neuron.name]}.lam"] = torch.tensor(neuron.lam)
    return state


def load_float(model: DetectionModel, path: str | Path, images, trust: bool = False) -> list[str]:
    """Load the weights of `path` into `model` (Ultralytics architecture with BatchNorm), in place.

    The file is an Ultralytics `.pt`, a `.safetensors` state dict, or a spiking graph of `casc-det convert`, whose
    clips go into the model's CQReLU sites. From folded BatchNorm the normalisation is restored: running mean and
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
    state, own = read_spiking(path, model) if is_spiking(path) else read_state(path), model.state_dict()
    folded = is_folded(state)
    usable = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    if not usable:
        raise WeightsError(
            f"weights: '{path}' fits no layer of {model.yaml.get('yaml_file', 'the model')}; use its own architecture"
        )
    model.load_state_dict(usable, strict=False)
    if folded:
        _restore_batchnorm(model, state, images)
    known = (".lam", "num_batches_tracked", "dfl", *((".bn.",) if folded else ()))
    return [key for key in own if key not in usable and not any(part in key for part in known)]


def float_model(
    path: str | Path, architecture: str | dict, classes: int, argument: str, trust: bool = False
) -> DetectionModel:
    """A float network in eval mode from a `.pt` checkpoint or from a `.safetensors` state dict of `architecture`.

    Args:
        architecture: path or name, see `read_architecture`, or a description that was checked.
        trust: see `read_checkpoint`.

    Raises:
        WeightsError: naming `argument`, where the file is missing, damaged or of another architecture.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"{argument}: '{path}' does not exist (nothing is downloaded); give a .pt or .safetensors file"
        )
    if Path(path).suffix != ".safetensors":
        model = read_checkpoint(path, trust, argument).eval()
        check_answer(model, path, argument)
        return model
    if not isinstance(architecture, dict):
        architecture = read_architecture(architecture, trust)
    model, state = DetectionModel(architecture, nc=classes, verbose=False), read_state(path)
    if is_folded(state):
        model.fuse(verbose=False)
    try:
        missing = [key for key in model.load_state_dict(state, strict=False).missing_keys if "dfl" not in key]
    except RuntimeError:  # tensors of other shapes
        missing = ["its tensors' shapes"]
    if missing:
        raise WeightsError(f"{argument}: '{path}' does not fit the architecture ({missing[0]}); give a .pt file")
    return model.eval()


@torch.no_grad()
def check_answer(model: DetectionModel, path: str | Path, argument: str) -> None:
    """Raise WeightsError where a network does not answer as a detector: nothing holds what is in a file together."""
    try:
        side = 2 * int(model.stride.max())
        raw = model(torch.zeros(1, 3, side, side))[1]
        raw = raw.get("one2many", raw)
        places, head = raw["scores"].shape[2], model.model[-1]
        shapes = [tuple(raw[key].shape) for key in ("boxes", "scores")]
        if shapes != [(1, 4 * head.reg_max, places), (1, head.nc, places)]:
            raise ValueError(f"its outputs have the shapes {shapes}")
    except Exception as error:  # the layers' own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise WeightsError(f"{argument}: '{path}' holds no detector that answers ({reason})") from error


@torch.no_grad()
def _restore_batchnorm(model: nn.Module, state: dict[str, torch.Tensor], images) -> None:
    norms, sums = {}, {}
    for name, norm in model.named_modules():
        bias = state.get(name.removesuffix(".bn") + ".conv.bias") if name.endswith(".bn") else None
        if bias is not None and bias.shape == norm.bias.shape:
            norms[norm] = bias.to(norm.bias.device)
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
            norm.weight.fill_(1)
            norm.bias.copy_(bias)

    def observe(norm, inputs):
        x = inputs[0].double()
        n, s, q = sums.get(norm, (0, 0, 0))
        sums[norm] = (n + x.numel() / x.shape[1], s + x.sum((0, 2, 3)), q + (x * x).sum((0, 2, 3)))

    hooks = [norm.register_forward_pre_hook(observe) for norm in norms]
    model.eval()
    for batch in images:
        model(batch)
    for hook in hooks:
        hook.remove()
    for norm, bias in norms.items():
        n, s, q = sums[norm]
        mean, var = s / n, (q / n - (s / n) ** 2).clamp(min=1e-6)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_(torch.sqrt(var + norm.eps))
        norm.bias.copy_(mean + bias)
