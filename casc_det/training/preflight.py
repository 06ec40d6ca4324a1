"""The arguments of a training, looked at before anything is written."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
import torch
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.files import get_latest_run

from casc_det.base.arguments import check_flags, check_texts, is_number
from casc_det.errors import ArgumentError, CascError, UsageError, WeightsError, nearest, one_line
from casc_det.neurons.activation import check_levels
from casc_det.training.arguments import OWN
from casc_det.training.start import check_activation
from casc_det.yolo.checkpoint import check_answer, read_checkpoint, read_state

MOST_MATCHES = 10  # places that Ultralytics' loss matches with an object
EXAMPLES = {"model": "yolov8n.yaml", "data": "data/tiny.yaml"}
OF_WEIGHTS = ("weights", "teacher", "pretrained", "distill_model", "resume")  # arguments that name files of weights


def check_arguments(arguments: dict) -> None:
    """Raise where an argument is missing, unknown or out of its bounds; files are not looked at.

    Raises:
        ArgumentError, UsageError: naming the argument.
    """
    for key, example in EXAMPLES.items():
        if not arguments.get(key) and not arguments.get("resume"):
            raise ArgumentError(f"{key}: missing; for example {key}={example}")
    check_texts(project=arguments.get("project"), name=arguments.get("name"))
    known = (*DEFAULT_CFG_DICT, *OWN)
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise UsageError(f"train: unknown argument '{unknown[0]}'{nearest(unknown[0], known)}")
    if arguments.get("levels") is not None:
        check_levels(arguments["levels"])
    if arguments.get("activation") is not None:
        check_activation(arguments["activation"])
    for key, argument in OWN.items():
        value, largest = arguments.get(key), argument.largest
        if value is None or largest is None:
            continue
        if not is_number(value, 0, largest):
            upper = f"from 0 to {largest:g}" if largest < math.inf else "of at least 0"
            raise ArgumentError(f"{key}: expected a number {upper}, got {value!r}")


def last_checkpoint(resume: str | Path) -> Path:
    """The file that `resume=` means: a checkpoint, or a run folder of train, whose weights/last.pt it is.

    Raises:
        WeightsError: a folder has none, as the first epoch did not end.
    """
    check_texts(resume=resume)
    path = Path(resume)
    folder = path.parent.parent if (path.name, path.parent.name) == ("last.pt", "weights") else path
    file = folder / "weights" / "last.pt" if folder.is_dir() else path
    if file.is_file() or not folder.is_dir():
        return file
    if (folder / "args.yaml").is_file():
        raise WeightsError(
            f"resume: no weights/last.pt in '{folder}': its training stopped before the first epoch ended; start it "
            "again without resume="
        )
    raise WeightsError(f"resume: '{folder}' is no run folder of casc-det train (no weights/last.pt in it)")


def check_files(arguments: dict, trust: bool) -> None:
    """Raise WeightsError where an argument names a file of weights that is missing or cannot be used.

    `resume` becomes the checkpoint that it means, the newest one for true.
    """
    check_flags(trust=trust)
    if arguments.get("resume") is True:
        arguments["resume"] = get_latest_run() or None
        if arguments["resume"] is None:
            raise WeightsError("resume: there is no last.pt below this folder; give resume=<run>/weights/last.pt")
    elif arguments.get("resume"):
        arguments["resume"] = str(last_checkpoint(arguments["resume"]))
    for key in OF_WEIGHTS:
        file = arguments.get(key)
        if not isinstance(file, str | Path) or not file:
            continue
        if not Path(file).is_file():
            raise WeightsError(f"{key}: '{file}' does not exist (nothing is downloaded)")
        if Path(file).suffix == ".safetensors" and key in ("weights", "teacher"):
            read_state(file)
        else:
            network = read_checkpoint(file, trust, key)
            if key == "teacher":
                check_answer(network.eval(), file, key)
    if arguments.get("distill_model"):
        raise ArgumentError("distill_model: Ultralytics' distillation knows no CQ activations; use teacher= instead")


def check_choice(data: dict, split: str | None, classes: int | list[int] | None) -> None:
    """Raise ArgumentError where `split` or `classes` name what a data set does not have."""
    if split not in (None, "val") and not data.get(split):
        raise ArgumentError(f"split: the data set has no '{split}'; give val, or the name of an entry of its YAML")
    chosen = [classes] if isinstance(classes, int) else classes or ()
    unknown = [label for label in chosen if label not in data["names"]]
    if unknown:
        raise ArgumentError(f"classes: the data set has no class {unknown[0]}; its names are 0..{data['nc'] - 1}")


def check_places(strides: list[float], smallest: float) -> None:
    """Raise ArgumentError where the smallest images (pixels) have fewer places for boxes than the loss chooses from."""
    places = int(sum((smallest // stride) ** 2 for stride in strides))
    if places < MOST_MATCHES:
        raise ArgumentError(
            f"imgsz: images of {smallest:.0f} pixels give this network {places} places for boxes, the loss needs "
            f"{MOST_MATCHES}; use a larger one"
        )


@contextmanager
def checks_of_ultralytics() -> Iterator[None]:
    """What Ultralytics raises about its arguments before the first epoch, as ArgumentError."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, AssertionError, FileNotFoundError) as error:
        if isinstance(error, CascError):
            raise
        text = one_line(error, 500)
        if device := re.match(r"Invalid CUDA 'device=(.*?)' requested", text):
            have = f"0..{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "none"
            text = f"device: '{device[1]}' cannot be used here (GPUs: {have}); use device=cpu"
            raise ArgumentError(text) from error
        raise ArgumentError(f"train: {text}") from error
