"""Videos that are written, by OpenCV (FFmpeg): files that hold every frame, or do not appear; read by `yolo.video`."""

import os
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what cannot be decoded is told by us, once

import cv2
import numpy as np

from casc_det.base.files import temporary_beside
from casc_det.errors import SourceError

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
LARGEST_RATE = 65535  # numerator of a frame rate that MPEG-4 can hold
DEFAULT_RATE = 25.0


def check_name(name: object) -> None:
    """Raise SourceError where a name is no text: OpenCV would end the whole process."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        raise SourceError("has a name that is no text (UTF-8), which OpenCV cannot open; rename it") from None


def encodable(rate: float | None) -> float:
    """The frame rate of an MPEG-4 file next to `rate`; 25 where that is none (0, nan, a clock of 90 kHz)."""
    if rate is None or not 0.01 <= rate <= LARGEST_RATE:
        return DEFAULT_RATE
    digits = next((d for d in (3, 2, 1) if round(rate, d) * 10**d <= LARGEST_RATE), 0)
    return round(rate, digits)


class VideoFile:
    """An mp4 that appears under its name when it is closed, whole.

    Frames are BGR, (H, W, 3) uint8, and get the size of the first one. fps: frames per second, see `encodable`.
    """

    def __init__(self, path: str | Path, fps: float | None) -> None:
        self.path, self.fps, self.written = Path(path), encodable(fps), 0
        self.writer: cv2.VideoWriter | None = None
        self.temporary = temporary_beside(self.path, ".mp4")  # streams take turns

    def write(self, image: np.ndarray) -> None:
        """Add a frame.

        Raises:
            SourceError: the video cannot be begun.
        """
        if self.writer is None:
            check_name(self.temporary)
            self.size = (image.shape[1], image.shape[0])  # width, height
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.temporary), cv2.CAP_FFMPEG, code, self.fps, self.size)
            if not self.writer.isOpened():
                self.temporary.unlink(missing_ok=True)
                raise SourceError(f"out: a video of {self.size[0]} x {self.size[1]} cannot be written to '{self.path}'")
        if image.shape[1::-1] != self.size:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        self.writer.write(image)
        self.written += 1

    def close(self) -> None:
        """Finish the file and look whether it holds what was written. Where this is interrupted, it can be done again.

        Raises:
            SourceError: it does not; what it holds is kept.
        """
        if self.writer is None:
            return
        self.writer.release()
        held = count_frames(self.temporary) if self.temporary.exists() else self.written
        if not held:
            self.temporary.unlink(missing_ok=True)
        elif self.temporary.exists():
            os.replace(self.temporary, self.path)
        self.writer = None
        if held < self.written:
            raise SourceError(
                f"out: '{self.path}' holds {held} of the {self.written} frames that were written; is the disk full?"
            )


def count_frames(path: Path) -> int:
    """The number of frames that a finished mp4 says it has, 0 where it cannot be opened or its first one not read."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() and capture.grab() else 0
    capture.release()
    return max(count, 0)
