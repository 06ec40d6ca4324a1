"""YOLO labels as Ultralytics' trainer reads them: its listing of images and its check of each pair of image and label.

Nothing is written: no cache beside the labels, no "restored" JPEG over the user's own. Nothing is printed: what
Ultralytics leaves out is handed back.
"""

import io
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import IO, Any

import numpy as np
from ultralytics.data import utils
from ultralytics.data.dataset import YOLODataset

from casc_det.errors import SourceError, one_line
from casc_det.yolo.data import quiet


@dataclass(frozen=True)
class ImageLabels:
    """size: (width, height) as the image is decoded. classes: (N,). boxes: (N, 4) x, y, w, h in shares of the image."""

    file: str
    size: tuple[int, int]
    classes: np.ndarray
    boxes: np.ndarray


def _with(function: Any, **others: Callable) -> Callable:
    """A function of `ultralytics.data.utils` that calls `others` in place of what its module calls so."""
    return FunctionType(function.__code__, {**vars(utils), **others}, function.__name__, function.__defaults__)


def _decode(file: object, write: Callable[[IO[bytes]], object]) -> None:
    """In place of Ultralytics' mending of JPEGs: the same decoding, which fails where it fails, into memory."""
    write(io.BytesIO())


_verify = _with(utils.verify_image_label, check_image=_with(utils.check_image, _replace_image=_decode))


class _Reader(YOLODataset):
    """`problems` and `damaged` say what was left out."""

    def get_labels(self) -> list[dict]:
        self.problems, self.damaged, labels, missing = [], 0, {}, []
        self.get_label_files()
        for arguments in self.verify_args()[1]:  # (image, label file, ...)
            file = arguments[0]
            if file in labels:
                self.problems.append(f"{os.path.basename(file)}: listed twice; counted once")
                continue
            label, absent, _, _, _, message = self.result_to_label(_verify(arguments))
            if label is None:
                self.damaged += 1
            else:
                labels[file] = label
                missing += [arguments[1]] * absent
            if message and not message.endswith("restored and saved"):
                self.problems.append(_problem(file, message, label is None))
        if missing:
            self.problems.append(
                f"{len(missing)} of {len(labels)} images have no label file, for example '{missing[0]}'; they count as "
                "images without objects"
            )
        self.im_files = list(labels)
        return list(labels.values())

    def build_transforms(self, hyp: Any = None) -> Any:
        """None: images are not looked at."""
        return None


def _problem(file: str, message: str, left_out: bool) -> str:
    reason = " ".join(message.split("ignoring corrupt image/label: ")[-1].removeprefix(f"{file}: ").split())
    if left_out and not os.path.isfile(file) and not os.path.isabs(file):
        reason += "; names in a list count from the current folder unless they begin with ./"
    return f"{os.path.basename(file)}: {reason}" + ("; skipped" if left_out else "")


def read_labels(data: dict, split: str) -> tuple[list[ImageLabels], list[str], int]:
    """Images and boxes of a split as Ultralytics trains on them.

    Args:
        data: a checked dataset YAML, see `casc_det.yolo.data.read_dataset`.

    Returns:
        The images in Ultralytics' order, what was left out or changed (a line each), and how many files were left out.

    Raises:
        SourceError: no image can be used.
    """
    source = data[split]
    try:
        with quiet(logging.CRITICAL):
            reader = _Reader(img_path=source, data=data, task="detect", augment=False)
    except Exception as error:  # of Ultralytics, about files of any kind
        reason = one_line(error.__cause__ or error, 300)
        raise SourceError(f"data: '{split}' of the dataset YAML cannot be read ({reason})") from error
    problems = [*_left_out_of_lists(source), *reader.problems]
    if not reader.labels:
        raise SourceError(f"data: no image of '{split}' can be used; the first is {problems[0]}")
    found = [
        ImageLabels(
            label["im_file"],
            label["shape"][::-1],
            label["cls"][:, 0].astype(np.int64),
            label["bboxes"].astype(np.float64),
        )
        for label in reader.labels
    ]
    return found, problems, reader.damaged + len(problems) - len(reader.problems)


def _left_out_of_lists(source: str | list[str]) -> list[str]:
    """Lines of .txt lists that Ultralytics passes over because of their suffix."""
    problems = []
    for part in source if isinstance(source, list) else [source]:
        if os.path.isfile(part):
            lines = Path(part).read_text(encoding="utf-8-sig").split("\n")
            for line in filter(str.strip, lines):
                if line.strip("\r").rpartition(".")[-1].lower() not in utils.IMG_FORMATS:
                    problems.append(f"{os.path.basename(part)}: '{line.strip()}' has no suffix of an image; skipped")
    return problems
