"""What a calibration is asked for: a float network, and images."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel

from casc_det.base.arguments import check_fields, check_one_of, check_texts, is_integer, shown
from casc_det.base.terminal import printable
from casc_det.errors import ArgumentError, SourceError
from casc_det.graph.file import opened
from casc_det.neurons.activation import check_levels
from casc_det.yolo.architecture import read_architecture, shipped_architecture
from casc_det.yolo.checkpoint import check_answer, read_checkpoint
from casc_det.yolo.data import is_yaml, list_images, read_dataset, read_names
from casc_det.yolo.float_network import float_model
from casc_det.yolo.images import LOGGER, letterbox, read_image
from casc_det.yolo.install import ACTIVATIONS, KEEP, cq_sites

MOST_IMAGES = 512  # which are all in memory
HELD_OUT = 12  # images that the result is looked at with, none of which it was fitted to


@dataclass(frozen=True)
class Calibration:
    """How a float network becomes a CQ network.

    Attributes:
        data: folder of images (searched deeply), image files or .txt lists, comma-separated, or a dataset YAML.
        levels: Q, from 1 to 64. activation: "keep", each site its own function, or "relu", each CQReLU.
        images: how many are looked at. seed: which ones, and of the projections.
        architecture: of a state dict that does not name it, such as "yolov8n.yaml".
        names: dataset YAML with the class names of a state dict.
    """

    data: str | Path | None = None
    levels: int = 32
    activation: str = KEEP
    images: int = 24
    seed: int = 0
    architecture: str | None = None
    names: str | Path | None = None

    def __post_init__(self) -> None:
        if self.data is None:
            raise ArgumentError("data: missing; give a folder of images that the network is calibrated with")
        check_texts(data=self.data, architecture=self.architecture, names=self.names)
        check_levels(self.levels)
        check_one_of(ACTIVATIONS, activation=self.activation)
        if not is_integer(self.images, 1, MOST_IMAGES):
            raise ArgumentError(f"images: expected an integer from 1 to {MOST_IMAGES}, got {shown(self.images)}")
        if not is_integer(self.seed, 0):
            raise ArgumentError(f"seed: expected an integer from 0 on, got {shown(self.seed)}")


def calibration_of(given: dict[str, Any]) -> Calibration | None:
    """The calibration of arguments by name; None where none of them is given (or is None).

    Raises:
        ArgumentError: one is unknown, or cannot work.
    """
    check_fields(Calibration, given, "convert")
    asked = {name: value for name, value in given.items() if value is not None}
    return Calibration(**asked) if asked else None


def read_float(path: Path, ask: Calibration, trust: bool) -> DetectionModel:
    """The float network of a `.pt` checkpoint, or of a `.safetensors` state dict.

    Raises:
        WeightsError: the file cannot be used. ArgumentError: its architecture or its class names are not known, or
            they are given beside a checkpoint.
    """
    if path.suffix != ".safetensors":
        if ask.architecture or ask.names:
            raise ArgumentError(f"model: '{path}' has architecture and class names; leave model= and names= out")
        model = read_checkpoint(path, trust).eval()
        if not cq_sites(model):
            check_answer(model, path, "weights")
        return model
    with opened(path) as file:
        named = f"{(file.metadata() or {}).get('model')}.yaml"  # a stranger's word, for which no other file is read
    description = read_architecture(ask.architecture, trust) if ask.architecture else shipped_architecture(named)
    if description is None:
        raise ArgumentError(
            f"model: '{path}' is a state dict that does not name its architecture; give model=yolov8n.yaml"
        )
    if not ask.names:
        raise ArgumentError(f"names: '{path}' is a state dict without class names; give names=<dataset YAML>")
    names = read_names(ask.names)
    model = float_model(path, description, len(names), "weights", trust)
    model.names = names
    return model


def read_images(ask: Calibration, imgsz: tuple[int, int], stride: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Images to calibrate with and others that are held out, (1, 3, H, W) each, letterboxed as `predict` does.

    Which ones is up to a shuffle of all; those that cannot be read are named and left out. Where there are fewer than
    are asked for, a third is held out.

    Raises:
        SourceError: there are less than two that can be read.
    """
    files, found = list_images(_folders(ask.data)), list[torch.Tensor]()
    count = len(files)
    random.Random(ask.seed).shuffle(files)
    while files and len(found) < ask.images + HELD_OUT:
        file = files.pop()
        try:
            found.append(letterbox(read_image(file).image, imgsz, stride)[None])
        except SourceError as error:
            LOGGER.warning(printable(f"skipped '{file}': {error}"))
    if len(found) < 2:
        raise SourceError(
            f"data: of '{ask.data}' {len(found)} of {count} images can be read, expected at least 2: one to calibrate "
            "with, another to hold the result against"
        )
    fitted = ask.images if len(found) > ask.images else len(found) - max(len(found) // 3, 1)
    return found[:fitted], found[fitted:]


def _folders(data: str | Path | None) -> str:
    """What `list_images` takes, also of a dataset YAML: the images to train on."""
    if not is_yaml(data):
        return str(data)
    found = read_dataset(str(data))["train"]
    return ",".join(found) if isinstance(found, list) else str(found)
