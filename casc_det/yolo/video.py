"""Video files: every frame that can be read.

OpenCV (FFmpeg) decodes. What a file's header says of its length is never believed: reading goes on past places that
cannot be decoded, to the end, and `lost` tells what the file should have held.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from casc_det.errors import SourceError
from casc_det.show.video import check_name
from casc_det.yolo.ending import is_cut, is_edited

PATIENCE = 1000  # packets in a row that cannot be decoded before a file counts as ended; 10 microseconds each


@dataclass
class Reading:
    """How far a video has been read.

    Attributes:
        width, height: pixels. rate: frames per second of the header, possibly nan or 0. count: its number of frames.
        frames: frames that were decoded, of which `unseen` gave no image. holes: places that could not be decoded.
        last: time of the last frame in seconds. forward: times only rise. jumps: frames that come late.
    """

    width: int
    height: int
    rate: float
    count: int
    frames: int = 0
    holes: int = 0
    unseen: int = 0
    last: float = math.nan
    jumps: int = 0
    forward: bool = True

    def at(self, seconds: float) -> None:
        """Note the time of a decoded frame."""
        if self.frames:
            self.forward &= seconds > self.last
            self.jumps += (seconds - self.last) * self.rate > 1.5
        self.frames += 1
        self.last = seconds


class VideoReader:
    """The frames of a video file, in order.

    Args:
        check: raises SourceError where frames of (width, height) pixels are not to be decoded.

    Raises:
        SourceError: it cannot be opened, or its frames are larger than `check` allows.
    """

    def __init__(self, file: str, check: Callable[[int, int], None] = lambda width, height: None) -> None:
        check_name(file)
        self.file = file
        self.capture = cv2.VideoCapture(file, cv2.CAP_FFMPEG)
        if not self.capture.isOpened():
            raise SourceError("cannot be opened as a video")
        get = self.capture.get
        size = (int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT)))
        try:
            check(*size)
        except SourceError:
            self.capture.release()
            raise
        count = get(cv2.CAP_PROP_FRAME_COUNT)
        self.reading = Reading(*size, get(cv2.CAP_PROP_FPS), int(count) if 0 < count < 2**31 else 0)

    def frames(self, stride: int = 1) -> Iterator[tuple[int, float, np.ndarray]]:
        """(number from 1, seconds, BGR image) of every `stride`th frame; those between are not decoded to pixels."""
        reading, failed = self.reading, 0
        try:
            while failed < max(PATIENCE, min(reading.count - reading.frames, 100 * PATIENCE)):
                if not self.capture.grab():
                    failed += 1
                    continue
                reading.holes += bool(failed)
                failed = 0
                reading.at(self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                if reading.frames % stride:
                    continue
                done, image = self.capture.retrieve()
                if done and image is not None:
                    yield reading.frames, reading.last, image
                else:
                    reading.unseen += 1
        finally:
            self.capture.release()

    def lost(self) -> str | None:
        """After all frames were read: in words, what the file should have held; None where nothing is missing."""
        reading, path = self.reading, Path(self.file)
        missing, cut = reading.count - reading.frames + reading.unseen, is_cut(path)
        timed = reading.forward and reading.frames > 1 and reading.rate > 0
        even = reading.jumps <= reading.frames / 10  # else some headers' count is a guess
        early = timed and reading.last < (reading.count - 2.5) / reading.rate and not is_edited(path)
        gaps = timed and even and reading.jumps > 0
        if not (cut or reading.holes or reading.unseen or (missing > 0 and (early or gaps))):
            return None
        if missing > 0 and even:
            return f"is damaged or cut: {missing} of its {reading.count} frames cannot be read"
        places = f"{reading.holes} {'place' if reading.holes == 1 else 'places'}"
        where = f", {places} cannot be decoded" if reading.holes else ""
        return f"is damaged or cut: {reading.frames} frames can be read{where}"
