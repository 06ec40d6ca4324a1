"""Readout maps -> boxes: anchors, box distribution (DFL), sigmoid, threshold, class-wise NMS.

Anchor-free decoding of YOLO: with the cell centre (cx, cy) in cells and the expected distances l, t, r, b of the
softmax distributions over 0..reg_max-1 cells, the box is (cx-l, cy-t, cx+r, cy+b) * stride.
"""

from dataclasses import dataclass

import numpy as np
import torch

from casc_det.errors import ArgumentError
from casc_det.nms import nms


@dataclass(frozen=True)
class DetectionSettings:
    """conf: a box needs a larger score than this, 0..1. iou: NMS threshold, 0..1. max_det: most boxes a picture.

    classes: labels to keep, None for all. multi_label: a cell may give several classes (for mAP), else its best.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: tuple[int, ...] | None = None
    multi_label: bool = False

    def __post_init__(self):
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ArgumentError(f"{name}: expected a number from 0 to 1, got {value!r}")
        if isinstance(self.max_det, bool) or not isinstance(self.max_det, int) or self.max_det < 1:
            raise ArgumentError(f"max_det: expected a whole number above 0, got {self.max_det!r}")


def check_classes(classes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return `classes`, or raise ArgumentError when one is no label of a detector with `count` classes."""
    wrong = [c for c in classes if type(c) is not int or not 0 <= c < count]
    if wrong:
        raise ArgumentError(f"classes: expected indices from 0 to {count - 1}, got {wrong[0]!r}")
    return classes


@dataclass
class Detections:
    """boxes: (N, 4) xyxy pixels of the letterboxed picture. scores: (N,) falling. labels: (N,) class indices."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def decode_maps(
    readout: dict[str, torch.Tensor], strides: list[int], reg_max: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """All boxes and scores of a readout, computed on the CPU: the same on every device.

    Args:
        readout: `boxes{i}` (B, 4*reg_max, H, W) and `scores{i}` (B, classes, H, W) for each level i.

    Returns:
        boxes (B, N, 4) xyxy in pixels and scores (B, N, classes) in 0..1.
    """
    boxes, scores = [], []
    for level, stride in enumerate(strides):
        raw, logits = readout[f"boxes{level}"].cpu(), readout[f"scores{level}"].cpu()
        batch, _, height, width = raw.shape
        if reg_max > 1:
            bins = torch.arange(reg_max, dtype=raw.dtype, device=raw.device).view(1, 1, -1, 1, 1)
            raw = (raw.view(batch, 4, reg_max, height, width).softmax(2) * bins).sum(2)
        x = torch.arange(width, dtype=raw.dtype, device=raw.device) + 0.5
        y = (torch.arange(height, dtype=raw.dtype, device=raw.device) + 0.5).view(-1, 1)
        left, top, right, bottom = raw.unbind(1)
        corners = torch.stack((x - left, y - top, x + right, y + bottom), -1) * stride
        boxes.append(corners.flatten(1, 2))
        scores.append(logits.sigmoid().flatten(2).transpose(1, 2))
    return torch.cat(boxes, 1), torch.cat(scores, 1)


def detect(boxes: torch.Tensor, scores: torch.Tensor, settings: DetectionSettings) -> Detections:
    """The detections of one picture from all its boxes (N, 4) and scores (N, classes)."""
    boxes, scores = boxes.numpy(), scores.numpy()
    if settings.multi_label:
        cells, labels = np.nonzero(scores > settings.conf)
    else:
        cells = np.flatnonzero(scores.max(1) > settings.conf)
        labels = scores[cells].argmax(1)
    if settings.classes is not None:
        wanted = np.isin(labels, check_classes(settings.classes, scores.shape[1]))
        cells, labels = cells[wanted], labels[wanted]
    values, corners = scores[cells, labels], boxes[cells]
    keep = nms(corners, values, labels, settings.iou, settings.max_det)
    return Detections(corners[keep], values[keep], labels[keep])
