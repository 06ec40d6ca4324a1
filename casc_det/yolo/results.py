"""Ultralytics `Results` with one attribute more: `spiking`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.engine.results import Boxes, Results
from ultralytics.utils.plotting import save_one_box

from casc_det.base.files import safe_name
from casc_det.base.terminal import printable
from casc_det.heads import Answer
from casc_det.simulation.step import SpikingInfo
from casc_det.yolo.images import Frame, original_boxes

LONGEST = 200  # characters of a class name that are drawn


class SpikingResults(Results):
    """Ultralytics `Results` of one image.

    Attributes:
        spiking: a `SpikingInfo`, or None for the answer of an ANN.
        frame, fps, time: number of the frame in its video from 1, frames per second of what is made of them, seconds
            from the video's start; None for an image.
        number: which of the source's files or images it is, from 0.
    """

    spiking: SpikingInfo | None = None
    frame: int | None = None
    fps: float | None = None
    time: float | None = None
    number: int = 0

    def new(self) -> "SpikingResults":
        """As in Ultralytics: the same image, without boxes."""
        speed: Any = self.speed
        fresh = SpikingResults(orig_img=self.orig_img, path=self.path, names=self.names, speed=speed)
        fresh.spiking, fresh.frame, fresh.fps = self.spiking, self.frame, self.fps
        fresh.time, fresh.number = self.time, self.number
        return fresh

    def verbose(self) -> str:
        """As in Ultralytics; a name that ends in s stays as it is in the plural."""
        if self.boxes is None or not len(self):
            return Results.verbose(self)
        counts = torch.as_tensor(self.boxes.cls, dtype=torch.int64).bincount().tolist()
        found = [(count, self.names[label]) for label, count in enumerate(counts) if count]
        return "".join(f"{n} {name}{'s' if n > 1 and not name.endswith('s') else ''}, " for n, name in found)

    def plot(self, *args: Any, **kwargs: Any) -> Any:
        """As in Ultralytics, also where a name cannot be drawn or a box has its corners in another order."""
        drawn = self.new()
        drawn.names = {label: printable(name)[:LONGEST] for label, name in self.names.items()}
        if self.boxes is not None:
            boxes = torch.as_tensor(self.boxes.data).cpu()
            first, second = boxes[:, :2], boxes[:, 2:4]
            corners = (torch.minimum(first, second), torch.maximum(first, second), boxes[:, 4:])
            drawn.update(boxes=torch.cat(corners, 1))
        return Results.plot(drawn, *args, **kwargs)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """As in Ultralytics; a class name that is no file name is written as one."""
        crops = self.new()
        crops.boxes, crops.names = self.boxes, {label: safe_name(name) for label, name in self.names.items()}
        Results.save_crop(crops, save_dir, file_name)


def boxes_of(result: Results) -> Boxes:
    """The boxes of results on the CPU, as tensors."""
    found: Any = result.boxes
    return found.cpu()


def label_lines(result: Results, scores: bool = False) -> list[str]:
    """The boxes as lines of a YOLO label file, `class x y width height [score]` in 0..1, as `Results.save_txt`."""
    boxes = boxes_of(result)
    rows = zip(boxes.cls.tolist(), boxes.xywhn.tolist(), boxes.conf.tolist(), strict=True)
    lines = [(int(label), *xywh, *([score] if scores else [])) for label, xywh, score in rows]
    return [" ".join(f"{value:g}" for value in line) for line in lines]


def crops(result: Results) -> Iterator[tuple[str, np.ndarray]]:
    """Class name and BGR inside of each box, a little larger, as `Results.save_crop`."""
    boxes = boxes_of(result)
    for label, xyxy in zip(boxes.cls.tolist(), boxes.xyxy, strict=True):
        crop = save_one_box(xyxy, result.orig_img, BGR=True, save=False)
        if crop.size:
            yield result.names[int(label)], crop


def make_results(
    answer: Answer,
    frame: Frame,
    names: list[str],
    shape: tuple[int, ...],
    spiking: SpikingInfo | None,
    speed: dict[str, float] | None = None,
) -> SpikingResults:
    """Results in pixels of the original image from the answer to its letterboxed form of `shape` (H, W).

    speed: milliseconds of each stage, as Ultralytics has them.
    """
    place = partial(original_boxes, shape=shape, original=frame.image.shape)
    fields: dict[str, Any] = {name: torch.from_numpy(values) for name, values in answer.fields(place).items()}
    results = SpikingResults(frame.image, frame.path, dict(enumerate(names)), speed=speed, **fields)
    results.spiking, results.frame, results.fps = spiking, frame.frame, frame.fps
    results.time, results.number = frame.time, frame.number
    return results
