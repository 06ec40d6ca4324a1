"""Whether what is going to be trained can be converted: looked at before any time is spent."""

import copy
from pathlib import Path

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
from ultralytics.nn.tasks import DetectionModel

from casc_det.conversion.audit import REFUSED, audit
from casc_det.conversion.integer import integer_problem
from casc_det.errors import ConversionError, WeightsError, in_words
from casc_det.yolo.architecture import read_architecture
from casc_det.yolo.capture import capture
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.install import cqrelu_sites, install_cqrelu, set_alpha
from casc_det.yolo.weights import check_fit


def check_architecture(model: str | Path, trust: bool = False, weights: str | Path | None = None) -> None:
    """Raise CascError where `model` is no known architecture and no .pt file, or cannot be converted.

    Also where `weights`, if there are any, do not fit it.
    """
    path = Path(str(model))
    if path.suffix == ".pt":
        if not path.is_file():
            raise WeightsError(f"model: '{model}' does not exist (nothing is downloaded); give a file")
        network = read_checkpoint(path, trust, "model")
    else:
        description = read_architecture(str(model), trust)
        try:
            network = DetectionModel(description, verbose=False)
        except Exception as error:  # the layers' own
            reason = in_words(error)
            raise WeightsError(f"model: '{model}' describes no network that can be built ({reason})") from error
    check_convertible(network, str(model))
    if weights:
        check_fit(network, weights, trust)


def check_convertible(model: DetectionModel, name: str) -> None:
    """Raise ConversionError where `convert` would refuse a network for what it is built of, or for NaN in it.

    Args:
        model: with or without CQReLU, left unchanged. name: for the message.
    """
    trial = copy.deepcopy(model)
    if not cqrelu_sites(trial):
        install_cqrelu(trial, 1)
    set_alpha(trial, 1.0)
    graph = capture(trial)
    refused = [row for row in audit(graph) if row.status == REFUSED]
    problem = integer_problem(graph)
    if refused:
        named = ", ".join(dict.fromkeys(row.op for row in refused[:3]))
        first = refused[0]
        problem = f"{len(refused)} ops have no spiking counterpart ({named}; the first is '{first.name}': {first.note})"
    if problem:
        raise ConversionError(
            f"model: what is trained from {name} could not be converted: {problem}; use yolov3-tiny, yolov5 or yolov8"
        )
