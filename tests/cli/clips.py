"""Videos for calls of the command line."""

import cv2
import numpy as np


def clip(path, frames: int, shade: int = 60):
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), shade * i % 256, np.uint8))
    writer.release()
    return path


def frames_of(path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
