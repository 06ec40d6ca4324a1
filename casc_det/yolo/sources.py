"""Pictures, folders, globs, list files, videos, webcams, URLs and arrays, through Ultralytics' loaders.

What cannot be read is never dropped in silence: it is kept in `skipped` with its reason, and a source of which
nothing can be read is an error.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from ultralytics.data.augment import LetterBox
from ultralytics.data.build import load_inference_source
from ultralytics.data.loaders import LoadImagesAndVideos
from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS
from ultralytics.utils import LOGGER

from casc_det.errors import ArgumentError, SourceError
from casc_det.terminal import printable
from casc_det.yolo import open_picture

STREAMS = ("rtsp://", "rtmp://", "tcp://", "http://", "https://")


@dataclass
class Frame:
    """One picture to look at. image: (H, W, 3) BGR uint8. frame: number in its video from 1, None for a picture."""

    image: np.ndarray
    path: str
    frame: int | None = None
    fps: float | None = None


@dataclass
class Source:
    """Iterable of `Frame`.

    Attributes:
        total: number of frames where it is known beforehand, else None.
        skipped: (file, reason) of what could not be read so far.
    """

    given: object
    vid_stride: int = 1
    files: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self):
        if isinstance(self.given, bool) or self.given is None or (isinstance(self.given, str) and not self.given):
            raise SourceError("source: missing; give a picture, folder, glob, .txt list, video, webcam index or URL")
        paths = [self.given] if isinstance(self.given, str | Path) else self.given
        self.is_path = (
            isinstance(paths, list | tuple)
            and len(paths) > 0
            and all(isinstance(p, str | Path) and not self._is_stream(str(p)) for p in paths)
        )
        if self.is_path:
            for path in paths:
                files, skipped = expand(str(path))
                self.files += files
                for file, reason in skipped:
                    self._skip(file, reason)
            if not self.files:
                raise SourceError(f"source: {_nothing_readable(self.given, self.skipped)}")

    def _skip(self, file: str, reason: str) -> None:
        self.skipped.append((file, reason))
        LOGGER.warning(printable(f"skipped '{file}': {reason}"))

    @staticmethod
    def _is_stream(text: str) -> bool:
        if text.isdecimal() or text == "screen":  # a camera or the screen, unless a file or folder is called so
            return not Path(text).exists()
        return text.lower().startswith(STREAMS) or text.endswith(".streams")

    @property
    def total(self) -> int | None:
        if not self.is_path or any(_is_video(f) for f in self.files):
            return _frame_count(self.files[0], self.vid_stride) if len(self.files) == 1 else None
        return len(self.files)

    def __iter__(self) -> Iterator[Frame]:
        if not self.is_path:
            yield from self._from_loader()
            return
        read = 0
        for file in self.files:
            try:
                for frame in _video(file, self.vid_stride) if _is_video(file) else [read_picture(file)]:
                    read += 1
                    yield frame
            except SourceError as error:
                self._skip(file, str(error))
        if not read:
            raise SourceError(f"source: {_nothing_readable(self.given, self.skipped)}")

    def _from_loader(self):
        try:
            loader = load_inference_source(self.given, vid_stride=self.vid_stride)
        except Exception as error:  # connection, camera, array of a wrong kind
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceError(f"source: '{self.given}' cannot be opened ({reason})") from error
        fps = getattr(loader, "fps", None)
        fps = fps[0] if isinstance(fps, list) else fps
        moving = getattr(loader, "mode", "image") in ("stream", "video")
        for number, (paths, images, _) in enumerate(loader, 1):
            for path, image in zip(paths, images, strict=True):
                yield Frame(image, str(path), number if moving else None, fps)


def _nothing_readable(source, skipped) -> str:
    if len(skipped) == 1:
        return f"'{skipped[0][0]}' {skipped[0][1]}"
    return f"nothing in '{source}' could be read: {len(skipped)} files were skipped, the first is '{skipped[0][0]}'"


def _is_video(file: str) -> bool:
    return Path(file).suffix[1:].lower() in VID_FORMATS


def expand(source: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The picture and video files of a path, folder, glob or list file, and what was left out with reasons."""
    path = Path(source)
    if path.is_dir():
        found = sorted(str(f) for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
        if not found:
            raise SourceError(f"source: the folder '{source}' holds no files")
    elif path.suffix.lower() in (".txt", ".csv") and path.is_file():
        lines = [line.strip().strip(",") for line in path.read_text(encoding="utf-8-sig").splitlines()]
        found = [
            line if Path(line).exists() else str(path.parent / line) for line in lines if line and line != "source"
        ]
        if not found:
            raise SourceError(f"source: the list '{source}' is empty; write one file name a line")
    elif path.exists():
        found = [source]
    else:
        found = sorted(glob.glob(source, recursive=True))
        if not found:
            hint = "the pattern matches no file" if any(c in source for c in "*?[") else "no such file or folder"
            raise SourceError(f"source: '{source}' does not exist ({hint})")
    files, skipped = [], []
    for file in found:
        if not Path(file).is_file():
            named = f" (named in '{source}')" if path.suffix.lower() in (".txt", ".csv") and path.is_file() else ""
            skipped.append((file, f"does not exist{named}"))
        elif Path(file).suffix[1:].lower() not in IMG_FORMATS | VID_FORMATS:
            skipped.append((file, f"is no picture or video (suffix '{Path(file).suffix}')"))
        elif Path(file).stat().st_size == 0:
            skipped.append((file, "is empty (zero bytes)"))
        else:
            files.append(file)
    return files, skipped


def read_picture(file: str) -> Frame:
    """One picture file; SourceError says why it cannot be read."""
    try:
        with open_picture(file) as picture:
            picture.load()  # OpenCV would fill the missing part of a truncated file with grey
    except UnidentifiedImageError:
        if Path(file).suffix.lower() not in (".heic", ".heif"):  # these need a package that Ultralytics asks for
            raise SourceError("cannot be read as a picture (unknown content)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"cannot be read as a picture ({error})") from error
    try:
        _, images, _ = next(iter(LoadImagesAndVideos(file)))
    except (StopIteration, ImportError):
        raise SourceError("cannot be read as a picture (unknown content)") from None
    return Frame(images[0], file)


def _video(file: str, stride: int) -> Iterator[Frame]:
    number = 0
    try:
        loader = LoadImagesAndVideos(file, vid_stride=stride)
        for _, images, _ in loader:
            for image in images:
                number += 1
                yield Frame(image, file, number, loader.fps / stride)
    except FileNotFoundError:
        raise SourceError("cannot be opened as a video") from None
    if not number:
        raise SourceError("has no frame that can be read")


def _frame_count(file: str, stride: int) -> int | None:
    try:
        return LoadImagesAndVideos(file, vid_stride=stride).frames or None
    except FileNotFoundError:
        return None


def check_imgsz(imgsz, stride: int) -> tuple[int, int]:
    """(height, width), rounded up to multiples of `stride`, from an int or a pair."""
    pair = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    sizes = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(sizes) != 2 or any(isinstance(s, bool) or not isinstance(s, int) or not stride <= s <= 8192 for s in sizes):
        raise ArgumentError(f"imgsz: expected an int or [height, width], each from {stride} to 8192, got {imgsz!r}")
    rounded = tuple(-(-s // stride) * stride for s in sizes)
    if rounded != sizes:
        LOGGER.warning(f"imgsz: {imgsz} is no multiple of {stride}, the network's stride; {list(rounded)} is used")
    return rounded


def letterbox(image: np.ndarray, imgsz: tuple[int, int], stride: int, rect: bool = True) -> torch.Tensor:
    """Network input (3, H, W) float32 RGB in 0..1: resized, centred on grey; with `rect` padded to `stride` only."""
    padded = LetterBox(imgsz, auto=rect, stride=stride)(image=image)
    return torch.from_numpy(np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1))).float() / 255
