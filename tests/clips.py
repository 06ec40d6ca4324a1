"""Small videos."""

from pathlib import Path

import cv2
import numpy as np

CODES = {"avi": "MJPG", "mp4": "mp4v", "mkv": "mp4v"}


def clip(path: Path, frames: int = 20, fps: float = 25.0, size: tuple[int, int] = (64, 48), shade: int = 10) -> Path:
    """A video whose frame k is gray of `shade` times k (within a few levels)."""
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*CODES[path.suffix[1:]]), fps, size)
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), shade * k % 256, np.uint8))
    writer.release()
    return path


def frames_of(path: Path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
