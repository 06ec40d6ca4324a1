"""Cameras and other streams, read by a thread that gives them up where they do not answer; OpenCV (FFmpeg) decodes."""

import threading
import time

import cv2
import numpy as np

from casc_det.errors import SourceError
from casc_det.show.video import check_name

TIMEOUT = 10.0  # seconds without an answer after which a stream counts as dead


class Stream:
    """A camera or URL, read by a thread.

    Args:
        address: a camera's index or a URL. stride: every so many frames are given.
        live: give the newest frame; those that nobody asked for in time are dropped. Else: every frame.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, address: str | int, stride: int = 1, live: bool = True) -> None:
        check_name(address)
        self.stride, self.live = stride, live
        limit = int(TIMEOUT * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        if isinstance(address, int):
            self.capture = cv2.VideoCapture(address)
        else:
            self.capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        if not self.capture.isOpened():
            raise SourceError("cannot be opened, or does not answer")
        self.rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.news = threading.Condition()
        self.newest: tuple[int, np.ndarray] | None = None
        self.number, self.ended, self.silent = 0, False, False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while not self.ended:
            start = time.monotonic()
            done, image = self.capture.read()
            with self.news:
                if done and image is not None:
                    self.number += 1
                    if not self.live:
                        self.news.wait_for(lambda: self.newest is None or self.ended)
                    if self.number % self.stride == 0:
                        self.newest = (self.number, image)
                else:
                    self.ended, self.silent = True, time.monotonic() - start > TIMEOUT / 2
                self.news.notify_all()
        self.capture.release()

    def next(self) -> tuple[int, np.ndarray] | None:
        """The next frame and its number from 1; None where the stream has ended or does not answer any more."""
        with self.news:
            if not self.news.wait_for(lambda: self.newest is not None or self.ended, 2 * TIMEOUT):
                self.ended = self.silent = True
            found, self.newest = self.newest, None
            self.news.notify_all()
        return found

    def close(self) -> None:
        """Let the thread end."""
        with self.news:
            self.ended = True
            self.news.notify_all()
