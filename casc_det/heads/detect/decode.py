"""Readout maps -> boxes: anchors, box distribution (DFL), sigmoid, threshold, class-wise NMS.

Anchor-free decoding of YOLO: with the cell centre (cx, cy) in cells and the expected distances l, t, r, b of the
softmax distributions over 0..reg_max-1 cells, the box is (cx-l, cy-t, cx+r, cy+b) * stride.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from casc_det.heads.detect.boxes import nms
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.settings import DetectionSettings, check_classes


def decode_maps(
    readout: dict[str, torch.Tensor], strides: Sequence[int], reg_max: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """All boxes and scores of a readout, computed on the CPU by NumPy: equal readouts have equal boxes and scores.

    (torch takes other functions for sigmoid and softmax at the end of a line or of a thread's share, and for another
    layout in memory; they differ in the last bit, and scores that were equal change places.)

    Args:
        readout: `boxes{i}` (B, 4*reg_max, H, W) and `scores{i}` (B, classes, H, W) for each level i.

    Returns:
        boxes (B, N, 4) xyxy in pixels and scores (B, N, classes) in 0..1.
    """
    boxes, scores = [], []
    for level, stride in enumerate(strides):
        raw, logits = (readout[f"{kind}{level}"].cpu().contiguous().numpy() for kind in ("boxes", "scores"))
        batch, _, height, width = raw.shape
        if reg_max > 1:
            raw = raw.reshape(batch, 4, reg_max, height, width)
            weights = raw - raw.max(2, keepdims=True)
            total = np.exp(weights, out=weights).sum(2)
            weights *= np.arange(reg_max, dtype=raw.dtype).reshape(-1, 1, 1)
            raw = weights.sum(2) / total
        x = np.arange(width, dtype=raw.dtype) + raw.dtype.type(0.5)
        y = np.arange(height, dtype=raw.dtype)[:, None] + raw.dtype.type(0.5)
        left, top, right, bottom = raw.transpose(1, 0, 2, 3)
        corners = np.stack((x - left, y - top, x + right, y + bottom), -1) * raw.dtype.type(stride)
        boxes.append(corners.reshape(batch, -1, 4))
        share = np.negative(logits)
        with np.errstate(over="ignore"):  # 1 / infinity is 0
            np.exp(share, out=share)
        share += 1
        np.divide(1, share, out=share)
        scores.append(share.reshape(batch, share.shape[1], -1).transpose(0, 2, 1))
    return torch.from_numpy(np.concatenate(boxes, 1)), torch.from_numpy(np.concatenate(scores, 1))


def detect(boxes: torch.Tensor, scores: torch.Tensor, settings: DetectionSettings) -> Detections:
    """The detections of one image from all its boxes (N, 4) and scores (N, classes)."""
    corners, shares = boxes.numpy(), scores.numpy()
    if settings.multi_label:
        cells, labels = np.nonzero(shares > settings.conf)
    else:
        cells = np.flatnonzero(shares.max(1) > settings.conf)
        labels = shares[cells].argmax(1)
    if settings.classes is not None:
        wanted = np.isin(labels, check_classes(settings.classes, shares.shape[1]))
        cells, labels = cells[wanted], labels[wanted]
    values, corners = shares[cells, labels], corners[cells]
    keep = nms(corners, values, labels, settings.iou, settings.max_det)
    return Detections(corners[keep].astype(np.float64), values[keep].astype(np.float64), labels[keep])


class Levels(Protocol):
    """What the head must know of a network, such as a `SpikingGraph` or a `FloatNetwork`."""

    @property
    def strides(self) -> Sequence[int]:
        """Pixels per cell of each level."""

    @property
    def reg_max(self) -> int:
        """Bins of the box distribution."""


@dataclass(frozen=True)
class DetectHead:
    """strides: pixels per cell of each level. reg_max: bins of the box distribution; 1 means plain distances."""

    strides: Sequence[int]
    reg_max: int

    @classmethod
    def of(cls, network: Levels) -> "DetectHead":
        """The head of a network."""
        return cls(network.strides, network.reg_max)

    def answers(
        self, readout: dict[str, torch.Tensor], settings: DetectionSettings, of: Iterable[int] | None = None
    ) -> list[Detections]:
        """The detections of each image of a batch, boxes in pixels of the letterboxed image.

        Args:
            of: the images that are asked for; None: all.
        """
        boxes, scores = decode_maps(readout, self.strides, self.reg_max)
        return [detect(boxes[i], scores[i], settings) for i in (range(len(boxes)) if of is None else of)]
