"""An image as the network takes it, letterboxed, and boxes of the network as pixels of the image.

Letterbox (Ultralytics): the image is resized, its aspect kept, to fit the network's size and centred on grey.
"""

import logging
from dataclasses import replace

import numpy as np
import torch
from ultralytics.data.augment import LetterBox
from ultralytics.utils.ops import scale_boxes

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError
from casc_det.heads.detect.detections import Detections

LOGGER = logging.getLogger("casc_det")
LARGEST = 8192  # pixels of a side


def check_imgsz(imgsz: object, stride: int) -> tuple[int, int]:
    """(height, width), rounded up to multiples of `stride`, from an int or a pair.

    Raises:
        ArgumentError: it is neither, or a side is not from `stride` to 8192.
    """
    pair = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    sizes = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(sizes) != 2 or any(
        isinstance(s, bool) or not isinstance(s, int) or not stride <= s <= LARGEST for s in sizes
    ):
        raise ArgumentError(
            f"imgsz: expected an int or [height, width], each from {stride} to {LARGEST}, got {shown(imgsz)}"
        )
    height, width = (-(-s // stride) * stride for s in sizes)
    if (height, width) != sizes:
        LOGGER.warning(f"imgsz: {imgsz} is no multiple of {stride}, the network's stride; {[height, width]} is used")
    return height, width


def letterbox(image: np.ndarray, imgsz: tuple[int, int], stride: int, rect: bool = True) -> torch.Tensor:
    """Network input (3, H, W) float32 RGB in 0..1 of an image (H, W, 3) BGR uint8.

    Args:
        imgsz: (height, width) of the network. rect: pad to multiples of `stride` only.
    """
    padded = np.asarray(LetterBox(imgsz, auto=rect, stride=stride)(image=image))
    return torch.from_numpy(np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1))).float() / 255


def original_boxes(boxes: np.ndarray, shape: tuple[int, ...], original: tuple[int, ...]) -> torch.Tensor:
    """Boxes (N, 4) of a letterboxed image of `shape` (H, W) in pixels of the `original` (H, W), clipped to it."""
    there = torch.tensor(boxes, dtype=torch.float64)
    return torch.as_tensor(scale_boxes((shape[0], shape[1]), there, (original[0], original[1])))


def in_original(found: Detections, shape: tuple[int, ...], original: tuple[int, ...]) -> Detections:
    """Detections of a letterboxed image of `shape` (H, W) in pixels of the `original` (H, W, ...)."""
    return replace(found, boxes=original_boxes(found.boxes, shape, original).numpy())
