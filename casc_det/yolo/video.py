"""Videos on disk and streams: every frame that can be read.

OpenCV (FFmpeg) decodes. What a file's header says of its length is never believed: reading goes on past places that
cannot be decoded, to the end, and `lost` tells what the file should have held.
"""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from casc_det.errors import SourceError
from casc_det.show.video import check_name

PATIENCE = 1000  # packets in a row that cannot be decoded before a file counts as ended; 10 microseconds each
TIMEOUT = 10.0  # seconds without an answer after which a stream counts as dead
ASF, ASF_FILE = b"0&\xb2u", bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object that has the file's size


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

    Raises:
        SourceError: it cannot be opened, or its frames are larger than `check` allows.
    """

    def __init__(self, file: str, check=lambda width, height: None):
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
        it = self.reading
        missing, cut = it.count - it.frames + it.unseen, is_cut(Path(self.file))
        timed = it.forward and it.frames > 1 and it.rate > 0
        even = it.jumps <= it.frames / 10  # else the frames are of uneven distance and some headers' count is a guess
        early = timed and it.last < (it.count - 2.5) / it.rate and not is_edited(Path(self.file))
        gaps = timed and even and it.jumps > 0
        if not (cut or it.holes or it.unseen or (missing > 0 and (early or gaps))):
            return None
        if missing > 0 and even:
            return f"is damaged or cut: {missing} of its {it.count} frames cannot be read"
        where = f", {it.holes} {'place' if it.holes == 1 else 'places'} cannot be decoded" if it.holes else ""
        return f"is damaged or cut: {it.frames} frames can be read{where}"


def is_edited(path: Path) -> bool:
    """Whether a file is of the MP4 family, whose edit lists leave out frames that the header counts."""
    with path.open("rb") as file:
        return file.read(12)[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def is_cut(path: Path) -> bool:
    """Whether a file ends before the last part that it announces (MP4, MOV, AVI, Matroska, ASF, TS, GIF)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        if head[:4] == b"RIFF":
            announced = int.from_bytes(head[4:8], "little")
            return announced < 2**32 - 1 and announced + 8 > size
        if head[:4] == b"\x1aE\xdf\xa3":
            return _segment_end(head) > size
        if head[:4] == ASF and (at := head.find(ASF_FILE)) > 0:
            return int.from_bytes(head[at + 40 : at + 48], "little") > size
        if head[:1] == b"G" and head[188:189] == b"G":  # packets of a transport stream
            return size % 188 > 0
        if head[:4] == b"GIF8":
            return not gif_ends(path.read_bytes())
        if not is_edited(path):
            return False
        position = 0
        while position + 8 <= size:
            file.seek(position)
            box = file.read(16)
            length = int.from_bytes(box[:4], "big")
            length = int.from_bytes(box[8:16], "big") if length == 1 else length or size - position
            if length < 8:
                return False  # no box: something was appended
            position += length
        return position > size


def gif_ends(data: bytes) -> bool:
    """Whether the blocks of a GIF follow each other up to its end mark."""

    def palette(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    try:
        at = 13 + palette(data[10])
        while data[at] != 0x3B:
            if data[at] not in (0x21, 0x2C):  # extension, image
                return False
            at += 2 if data[at] == 0x21 else 11 + palette(data[at + 9])
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        return False
    return True


def _segment_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends, 0 where it does not say."""

    def number(at: int) -> tuple[int, int]:
        """A number of variable length and where it ends; all ones: unknown."""
        width = 9 - head[at].bit_length()
        value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
        return (0 if value == (1 << 7 * width) - 1 else value), at + width

    try:
        length, at = number(4)
        at += length
        if head[at : at + 4] != b"\x18S\x80g":
            return 0
        length, at = number(at + 4)
        return at + length if length else 0
    except IndexError:
        return 0


class Stream:
    """A camera or URL, read by a thread.

    Args:
        live: give the newest frame; those that nobody asked for in time are dropped. Else: every frame.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, address: str | int, stride: int = 1, live: bool = True):
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
        self.news, self.newest = threading.Condition(), None
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
