"""Whether what is going to be trained can be converted: looked at before any time is spent."""

from pathlib import Path

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
from ultralytics.nn.tasks import DetectionModel

from casc_det.errors import ArgumentError, WeightsError, in_words
from casc_det.training.start import settled, start_of
from casc_det.yolo.architecture import read_architecture
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.convertible import check_convertible
from casc_det.yolo.install import KEEP
from casc_det.yolo.weights import check_fit


def check_architecture(
    model: str | Path, trust: bool = False, weights: str | Path | None = None, activation: str | None = None
) -> None:
    """Raise CascError where `model` is no known architecture and no .pt file, or cannot be converted.

    Also where `weights`, if there are any, do not fit it, or `activation` is not what it has.
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
    start, own = start_of(network, weights, trust), start_of(network)
    if settled(activation, start) == KEEP and own.functions != start.functions:
        raise ArgumentError(
            f"activation: '{weights}' has {', '.join(start.functions)}, '{model}' {', '.join(own.functions)}, so there "
            "is none to keep; use relu, or the architecture of the weights"
        )
