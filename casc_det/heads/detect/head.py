"""The head of a detector: of each level i maps `boxes{i}` (B, 4*reg_max, H, W) and `scores{i}` (B, classes, H, W)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from casc_det.heads.detect.decode import decode_maps, detect
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.settings import DetectionSettings


class Levels(Protocol):
    """What the head must know of a network, such as a `SpikingGraph` or a `FloatNetwork`."""

    strides: list[int]
    reg_max: int


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
