"""Images, folders, globs, list files, videos, cameras, URLs and what is in memory, one frame after the other.

What cannot be read is never dropped in silence: it is kept in `skipped` with its reason, and a source of which
nothing can be read is an error.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from casc_det.base.arguments import check_counts, shown
from casc_det.base.terminal import printable
from casc_det.errors import ArgumentError, SourceError
from casc_det.yolo.address import Address
from casc_det.yolo.files import expand, is_address, is_video, lines_of
from casc_det.yolo.images import LOGGER, Frame, as_bgr, check_size, plain, read_image, reason_of
from casc_det.yolo.stream import Stream
from casc_det.yolo.video import VideoReader

KINDS = "picture, folder, glob, .txt list, video, webcam index or URL"


@dataclass
class Source:
    """Iterable of `Frame`.

    Attributes:
        given: what it was made of. vid_stride: every so many frames of a video are given.
        files: the files that are looked at. skipped: (file, reason) of what could not be read so far.
        incomplete: videos and streams of which a part could not be read.

    Raises:
        ArgumentError: `given` is nothing that images come from, or an image in memory that is none.
        SourceError: there is nothing in it that could be read.
    """

    given: object
    vid_stride: int = 1
    files: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    incomplete: int = 0

    def __post_init__(self) -> None:
        check_counts(vid_stride=self.vid_stride)
        given = str(self.given) if isinstance(self.given, np.integer) else self.given
        self.items: list[str | Address | Frame] = []
        self.frames_known: int | None = None
        self.open_streams: list[tuple[int, Stream]] = []
        if isinstance(given, bool) or given is None or (isinstance(given, str) and not given.strip()):
            raise SourceError(f"source: missing; give a {KINDS}")
        if isinstance(given, list | tuple):
            if not given:
                raise SourceError(f"source: an empty {type(given).__name__}; give a {KINDS}")
            for number, item in enumerate(given):
                self._add(item, f"source[{number}]")
        else:
            self._add(str(given) if isinstance(given, int) else given, "source")
        if not self.items:
            raise SourceError(f"source: {self._nothing_readable()}")

    def _add(self, item: object, name: str) -> None:
        """Append to `items` what one item stands for: file names, addresses, or frames that are in memory."""
        if isinstance(item, str | Path):
            self._add_text(str(item), alone=name == "source")
        elif isinstance(item, torch.Tensor) and plain(item, name).ndim == 4:
            if not len(item):
                raise ArgumentError(f"{name}: a tensor without images")
            for image in item:
                self._add(image, name)
        elif isinstance(item, np.ndarray | torch.Tensor | Image.Image):
            path = getattr(item, "filename", "") or f"image{len(self.items)}.jpg"  # as Ultralytics calls them
            self.items.append(Frame(as_bgr(item, name), str(path)))
        else:
            kinds = f"a {KINDS}, an array (H, W, 3), a tensor (B, 3, H, W), a PIL image, or a list of these"
            raise ArgumentError(f"{name}: expected {kinds}, got {shown(item)}")

    def _add_text(self, text: str, alone: bool) -> None:
        """Append the files or addresses of a text; what is wrong with it is an error where it is `alone`."""
        if is_address(text):
            self.items.append(Address(text))
            return
        if text.endswith(".streams") and os.path.isfile(text):
            self.items += [Address(line) for line in lines_of(Path(text))]
            return
        try:
            files, skipped = expand(text)
        except (SourceError, OSError) as error:
            reason = str(error) if isinstance(error, SourceError) else f"source: '{text}' cannot be read ({error})"
            if alone:
                raise SourceError(reason) from error
            files, skipped = [], [(text, reason.removeprefix("source: ").removeprefix(f"'{text}' "))]
        self.files += files
        self.items += files
        for file, reason in skipped:
            self._skip(file, reason)

    def _skip(self, file: str, reason: str, whole: bool = True) -> None:
        """Note what could not be read: a file, or parts of one (`whole` is false)."""
        self.skipped.append((file, reason))
        self.incomplete += not whole
        LOGGER.warning(printable(f"skipped '{file}': {reason}" if whole else f"'{file}' {reason}"))

    def _nothing_readable(self) -> str:
        if not self.skipped:
            return f"nothing in {shown(self.given)}"
        (file, reason), count = self.skipped[0], len(self.skipped)
        if count == 1:
            return f"'{file}' {reason}"
        return f"nothing in {shown(self.given)} could be read: {count} files were skipped, the first is '{file}'"

    @property
    def is_path(self) -> bool:
        """Whether all of it are files."""
        return all(isinstance(item, str) for item in self.items)

    @property
    def moving(self) -> bool:
        """Whether there is a video or a stream in it."""
        return any(isinstance(item, Address) or (isinstance(item, str) and is_video(item)) for item in self.items)

    @property
    def total(self) -> int | None:
        """The number of frames where it is known beforehand, else None."""
        return self.frames_known if self.moving else len(self.items)

    def single(self, what: str) -> Frame:
        """The one image that this is; ArgumentError where it is more, for `what` that takes one."""
        count = len(self.items) + len(self.skipped)
        if self.moving or count > 1:
            came = f"{count} of them" if count > 1 else "a video or stream"
            raise ArgumentError(f"source: {what} looks at one image, got {came}; give one, or use predict")
        return next(iter(self))

    def __iter__(self) -> Iterator[Frame]:
        read = 0
        try:
            for number, item in enumerate(self.items):
                for frame in () if isinstance(item, Address) else self._open(item):
                    frame.number = number
                    read += 1
                    yield frame
            for frame in self._streams():
                read += 1
                yield frame
        finally:
            for _, stream in self.open_streams:
                stream.close()
        if not read:
            raise SourceError(f"source: {self._nothing_readable()}")

    def _open(self, item: str | Frame) -> Iterator[Frame]:
        """The frames of a file or of an image in memory; what cannot be read is skipped."""
        if isinstance(item, Frame):
            yield item
            return
        try:
            if is_video(item):
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
        addresses = {number: item for number, item in enumerate(self.items) if isinstance(item, Address)}
        self.open_streams = []
        for number, item in addresses.items():
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
                item, found = addresses[number], stream.next()
                if found is not None:
                    yield Frame(found[1], item.text, found[0], stream.rate / self.vid_stride, None, number)
                    continue
                running.remove((number, stream))
                if stream.silent or item.live or not stream.number:
                    self._skip(item.text, f"stopped after {stream.number} frames", whole=False)


def _check_gif(file: str) -> None:
    """Raise SourceError where a GIF says that it is larger than what is safe to unpack."""
    with open(file, "rb") as stream:
        head = stream.read(10)
    if head[:4] == b"GIF8" and len(head) == 10:
        check_size(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
