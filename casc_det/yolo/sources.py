"""Images, folders, globs, list files, videos, cameras, URLs and what is in memory, one frame after the other.

What cannot be read is never dropped in silence: it is kept in `skipped` with its reason, and a source of which
nothing can be read is an error.
"""

import csv
import glob
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import torch
from PIL import Image
from ultralytics.data.augment import LetterBox
from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

from casc_det.base.arguments import check_counts, shown
from casc_det.base.terminal import printable
from casc_det.errors import ArgumentError, SourceError
from casc_det.yolo.images import Frame, as_bgr, check_size, plain, read_image, reason_of
from casc_det.yolo.video import TIMEOUT, Stream, VideoReader

__all__ = ["Frame", "Source", "check_imgsz", "expand", "letterbox", "read_image"]
WEB, LIVE = ("http://", "https://"), ("rtsp://", "rtmp://", "tcp://", "udp://")
LOGGER = logging.getLogger("casc_det")  # to stderr; that of Ultralytics prints to stdout, between JSON
KINDS = "picture, folder, glob, .txt list, video, webcam index or URL"
MOST_BYTES, MOST_SECONDS = 2**28, 60  # of an image that is fetched


@dataclass
class Source:
    """Iterable of `Frame`.

    Attributes:
        total: number of frames where it is known beforehand, else None.
        files: the files that are looked at. skipped: (file, reason) of what could not be read so far.
        incomplete: videos and streams of which a part could not be read.
    """

    given: object
    vid_stride: int = 1
    files: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    incomplete: int = 0

    def __post_init__(self):
        check_counts(vid_stride=self.vid_stride)
        given, self.items, self.frames_known = self.given, [], None
        if isinstance(given, bool) or given is None or (isinstance(given, str) and not given.strip()):
            raise SourceError(f"source: missing; give a {KINDS}")
        if isinstance(given, int | np.integer):
            given = str(given)
        if isinstance(given, list | tuple):
            if not given:
                raise SourceError(f"source: an empty {type(given).__name__}; give a {KINDS}")
            for number, item in enumerate(given):
                self._add(item, f"source[{number}]")
        else:
            self._add(given, "source")
        if not self.items:
            raise SourceError(f"source: {_nothing_readable(self.given, self.skipped)}")

    def _add(self, item, name: str) -> None:
        """Append to `items` what one item stands for: file names, addresses, or frames that are in memory."""
        if isinstance(item, str | Path):
            text = str(item)
            if _is_address(text):
                self.items.append(_Address(text))
                return
            if text.endswith(".streams") and os.path.isfile(text):
                self.items += [_Address(line) for line in _lines(Path(text))]
                return
            try:
                files, skipped = expand(text)
            except (SourceError, OSError) as error:
                reason = error if isinstance(error, SourceError) else f"source: '{text}' cannot be read ({error})"
                if name == "source":
                    raise SourceError(str(reason)) from error
                reason = str(reason).removeprefix("source: ").removeprefix(f"'{text}' ")
                files, skipped = [], [(text, reason)]  # one of several
            self.files += files
            self.items += files
            for file, reason in skipped:
                self._skip(file, reason)
            return
        if not isinstance(item, np.ndarray | torch.Tensor | Image.Image):
            kinds = f"a {KINDS}, an array (H, W, 3), a tensor (B, 3, H, W), a PIL image, or a list of these"
            raise ArgumentError(f"{name}: expected {kinds}, got {shown(item)}")
        if isinstance(item, torch.Tensor) and plain(item, name).ndim == 4:
            if not len(item):
                raise ArgumentError(f"{name}: a tensor without images")
            for image in item:
                self._add(image, name)
            return
        path = getattr(item, "filename", "") or f"image{len(self.items)}.jpg"  # as Ultralytics calls them
        self.items.append(Frame(as_bgr(item, name), str(path)))

    def _skip(self, file: str, reason: str, whole: bool = True) -> None:
        """Note what could not be read: a file, or parts of one (`whole` is false)."""
        self.skipped.append((file, reason))
        self.incomplete += not whole
        LOGGER.warning(printable(f"skipped '{file}': {reason}" if whole else f"'{file}' {reason}"))

    @property
    def is_path(self) -> bool:
        """Whether all of it are files."""
        return all(isinstance(item, str) for item in self.items)

    @property
    def total(self) -> int | None:
        if any(isinstance(item, _Address) or (isinstance(item, str) and _is_video(item)) for item in self.items):
            return self.frames_known
        return len(self.items)

    def single(self, what: str) -> Frame:
        """The one image that this is; ArgumentError where it is more, for `what` that takes one."""
        moving = any(isinstance(i, _Address) or (isinstance(i, str) and _is_video(i)) for i in self.items)
        count = len(self.items) + len(self.skipped)
        if moving or count > 1:
            came = f"{count} of them" if count > 1 else "a video or stream"
            raise ArgumentError(f"source: {what} looks at one image, got {came}; give one, or use predict")
        return next(iter(self))

    def __iter__(self) -> Iterator[Frame]:
        read = 0
        try:
            for number, item in enumerate(self.items):
                if isinstance(item, _Address):
                    continue
                for frame in self._open(item):
                    frame.number = number
                    read += 1
                    yield frame
            for frame in self._streams():
                read += 1
                yield frame
        finally:
            for _, stream in getattr(self, "open_streams", []):
                stream.close()
        if not read:
            raise SourceError(f"source: {_nothing_readable(self.given, self.skipped)}")

    def _open(self, item) -> Iterator[Frame]:
        """The frames of a file or of an image in memory; what cannot be read is skipped."""
        if isinstance(item, Frame):
            yield item
            return
        try:
            if _is_video(item):
                yield from self._video(item)
            else:
                yield read_image(item)
        except SourceError as error:
            self._skip(item, str(error))
        except Exception as error:  # a decoder may raise anything where the file is damaged
            self._skip(item, f"cannot be read ({reason_of(error)})")

    def _video(self, file: str) -> Iterator[Frame]:
        if Path(file).suffix.lower() == ".gif":  # before anything is unpacked
            _check_gif(file)
        video = VideoReader(file, check_size)
        rate, found = video.reading.rate, 0
        if len(self.items) == 1:
            self.frames_known = video.reading.count // self.vid_stride or None
        for number, seconds, image in video.frames(self.vid_stride):
            found += 1
            yield Frame(image, file, number, rate / self.vid_stride, seconds if video.reading.forward else None)
        if not found and video.reading.frames:
            raise SourceError(f"has only {video.reading.frames} frames, fewer than vid_stride={self.vid_stride}")
        if not found:
            raise SourceError("has no frame that can be read")
        if lost := video.lost():
            self._skip(file, lost, whole=False)

    def _streams(self) -> Iterator[Frame]:
        """The frames of all cameras and URLs, in turn."""
        self.open_streams = []
        for number, item in enumerate(self.items):
            if not isinstance(item, _Address):
                continue
            try:
                if (image := item.fetch()) is not None:
                    image.number = number
                    yield image
                else:
                    self.open_streams.append((number, Stream(item.target, self.vid_stride, item.live)))
            except SourceError as error:
                self._skip(item.text, str(error))
        running = list(self.open_streams)
        while running:
            for number, stream in list(running):
                found = stream.next()
                if found is None:
                    running.remove((number, stream))
                    self._ended(self.items[number], stream)
                    continue
                yield Frame(found[1], self.items[number].text, found[0], stream.rate / self.vid_stride, None, number)

    def _ended(self, item: "_Address", stream: Stream) -> None:
        if stream.silent or item.live or not stream.number:
            self._skip(item.text, f"stopped after {stream.number} frames", whole=False)


@dataclass(frozen=True)
class _Address:
    """A camera's index or a URL."""

    text: str

    @property
    def target(self) -> str | int:
        return int(self.text) if self.text.isdecimal() else self.text

    @property
    def suffix(self) -> str:
        try:
            return urlsplit(self.text).path.rpartition(".")[2].lower() if self.text.lower().startswith(WEB) else ""
        except ValueError:  # no address: `fetch` says so
            return ""

    @property
    def live(self) -> bool:
        return self.suffix not in VID_FORMATS

    def fetch(self) -> Frame | None:
        """The image behind a URL, None where it is none. Raises SourceError where it does not answer."""
        if not self.text.lower().startswith(WEB) or self.suffix in VID_FORMATS:
            return None
        try:
            with urlopen(self.text, timeout=TIMEOUT) as answer:
                kind = answer.headers.get_content_type()
                if not kind.startswith("image/") and self.suffix not in IMG_FORMATS:
                    return None
                data, end = bytearray(), time.monotonic() + MOST_SECONDS
                while chunk := answer.read1(2**16):
                    data += chunk
                    if len(data) > MOST_BYTES or time.monotonic() > end:
                        raise SourceError(f"is too large or too slow (more than {len(data) >> 20} MiB)")
        except (OSError, ValueError, HTTPException) as error:
            raise SourceError(f"cannot be opened ({reason_of(error)})") from error
        with tempfile.TemporaryDirectory() as folder:
            suffixes = (self.suffix, kind.partition("/")[2])  # a server may say anything
            file = Path(folder, f"picture.{next((s for s in suffixes if s in IMG_FORMATS), 'jpg')}")
            file.write_bytes(data)
            frame = read_image(str(file))
        frame.path = self.text
        return frame


def _is_address(text: str) -> bool:
    if text.isdecimal():  # a camera, unless a file or folder is called so
        return not os.path.exists(text)
    return text.lower().startswith(WEB + LIVE)


def _nothing_readable(source, skipped) -> str:
    if len(skipped) == 1:
        return f"'{skipped[0][0]}' {skipped[0][1]}"
    return (
        f"nothing in {shown(source)} could be read: {len(skipped)} files were skipped, the first is '{skipped[0][0]}'"
    )


def _is_video(file: str) -> bool:
    return Path(file).suffix[1:].lower() in VID_FORMATS


def _check_gif(file: str) -> None:
    """Raise SourceError where a GIF says that it is larger than what is safe to unpack."""
    with open(file, "rb") as stream:
        head = stream.read(10)
    if head[:4] == b"GIF8" and len(head) == 10:
        check_size(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))


def _lines(path: Path) -> list[str]:
    """The file names or addresses of a list: one a line, in a .csv one a cell, perhaps below the word source."""
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").replace("\0", "").splitlines()
    if path.suffix.lower() == ".csv":
        rows = list(csv.reader(lines))
        lines = [cell for row in (rows[1:] if rows[:1] == [["source"]] else rows) for cell in row]
    return [line for text in lines if (line := text.strip())]


def expand(source: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The image and video files of a path, folder, glob or list file, and what was left out with reasons."""
    path = Path(source)
    if "\0" in source:
        raise SourceError(f"source: {shown(source)} does not exist (a name has no zero byte)")
    if os.path.isdir(source):
        found = sorted(str(f) for f in path.iterdir() if not f.is_dir() and not f.name.startswith("."))
        if not found:
            raise SourceError(f"source: the folder '{source}' holds no files")
    elif path.suffix.lower() in (".txt", ".csv") and os.path.isfile(source):
        found = [line if os.path.exists(line) else str(path.parent / line) for line in _lines(path)]
        if not found:
            raise SourceError(f"source: the list '{source}' is empty; write one file name a line")
    elif os.path.exists(source):
        found = [source]
    else:
        found = sorted(glob.glob(source, recursive=True))
        if not found:
            hint = "the pattern matches no file" if any(c in source for c in "*?[") else "no such file or folder"
            raise SourceError(f"source: {shown(source)} does not exist ({hint})")
    files, skipped = [], []
    for file in found:
        if not os.path.isfile(file):
            named = f" (named in '{source}')" if path.suffix.lower() in (".txt", ".csv") else ""
            skipped.append((file, f"{'is no file' if os.path.exists(file) else 'does not exist'}{named}"))
        elif Path(file).suffix[1:].lower() not in IMG_FORMATS | VID_FORMATS:
            skipped.append((file, f"is no picture or video (suffix '{Path(file).suffix}')"))
        elif os.path.getsize(file) == 0:
            skipped.append((file, "is empty (zero bytes)"))
        else:
            files.append(file)
    return files, skipped


def check_imgsz(imgsz, stride: int) -> tuple[int, int]:
    """(height, width), rounded up to multiples of `stride`, from an int or a pair."""
    pair = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    sizes = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(sizes) != 2 or any(isinstance(s, bool) or not isinstance(s, int) or not stride <= s <= 8192 for s in sizes):
        raise ArgumentError(
            f"imgsz: expected an int or [height, width], each from {stride} to 8192, got {shown(imgsz)}"
        )
    rounded = tuple(-(-s // stride) * stride for s in sizes)
    if rounded != sizes:
        LOGGER.warning(f"imgsz: {imgsz} is no multiple of {stride}, the network's stride; {list(rounded)} is used")
    return rounded


def letterbox(image: np.ndarray, imgsz: tuple[int, int], stride: int, rect: bool = True) -> torch.Tensor:
    """Network input (3, H, W) float32 RGB in 0..1: resized, centred on grey; with `rect` padded to `stride` only."""
    padded = LetterBox(imgsz, auto=rect, stride=stride)(image=image)
    return torch.from_numpy(np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1))).float() / 255
