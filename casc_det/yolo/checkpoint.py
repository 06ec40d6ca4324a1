"""Read float or CQ networks: Ultralytics `.pt` checkpoints and plain `.safetensors` state dicts.

A `.pt` file is a pickle. Without `trust` only what detection models are made of is read from it, see `unpickle`.
"""

from pathlib import Path

import torch
from ultralytics.nn.tasks import DetectionModel, load_checkpoint

from casc_det.errors import CascError, WeightsError, in_words
from casc_det.graph.file import opened
from casc_det.yolo.guard import guarded
from casc_det.yolo.network import head_of, raw_outputs


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


@torch.no_grad()
def check_answer(model: DetectionModel, path: str | Path, argument: str) -> None:
    """Raise WeightsError where a network does not answer as a detector: nothing holds what is in a file together."""
    try:
        side = 2 * int(model.stride.max())
        raw = raw_outputs(model(torch.zeros(1, 3, side, side)))
        places, head = raw["scores"].shape[2], head_of(model)
        shapes = [tuple(raw[key].shape) for key in ("boxes", "scores")]
        if shapes != [(1, 4 * head.reg_max, places), (1, head.nc, places)]:
            raise ValueError(f"its outputs have the shapes {shapes}")
    except Exception as error:  # the layers' own
        reason = in_words(error)
        raise WeightsError(f"{argument}: '{path}' holds no detector that answers ({reason})") from error
