"""Data sets: Ultralytics dataset YAMLs, read safely, and images without labels for distillation."""

import hashlib
import logging
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape, glob
from pathlib import Path

import numpy as np
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, exif_size
from ultralytics.utils import LOGGER, YAML

from casc_det.base.terminal import printable
from casc_det.errors import ArgumentError, SourceError, one_line
from casc_det.yolo import open_image
from casc_det.yolo.checkpoint import read_checkpoint

HELD_OUT = 0.05


def list_images(source: str) -> list[str]:
    """Image files of `source`: folders (searched deeply), image files and .txt lists, comma-separated."""
    files: list[str] = []
    for part in (p.strip() for p in str(source).split(",")):
        path = Path(part)
        if path.is_dir():
            found = sorted(glob(f"{escape(part)}/**/*.*", recursive=True))  # as Ultralytics: follows links
            files += [f for f in found if f.rpartition(".")[-1].lower() in IMG_FORMATS]
        elif path.suffix == ".txt" and path.is_file():
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            files += [str(path.parent / line.strip()) for line in lines if line.strip()]
        elif path.is_file():
            files.append(str(path))
        else:
            raise SourceError(f"data: '{part}' does not exist; give a dataset YAML, a folder of images or a .txt list")
    if not files:
        raise SourceError(f"data: no images found in '{source}'; known suffixes are {', '.join(sorted(IMG_FORMATS))}")
    return files


def hold_out(files: list[str]) -> tuple[list[str], list[str]]:
    """Split into training and held-out images by a hash of the file name (5 %, at least one, at most 256)."""
    ranked = sorted(files, key=lambda f: hashlib.sha256(Path(f).name.encode()).digest())
    count = min(max(round(len(files) * HELD_OUT), 1), 256)
    return (sorted(ranked[count:]), sorted(ranked[:count])) if len(files) > 1 else (files, files)


@contextmanager
def quiet(level: int) -> Iterator[None]:
    """Ultralytics says only what is of this level or above."""
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def read_dataset(path: str | Path) -> dict:
    """An Ultralytics dataset YAML, checked; its `download:` entry is never run."""
    if not Path(path).is_file():
        raise SourceError(f"data: '{path}' does not exist; give a dataset YAML, a folder of images or a .txt list")
    try:
        if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):  # Ultralytics would unpack it somewhere
            raise SourceError(f"data: '{path}' is an archive; unpack it and give the dataset YAML in it")
        with quiet(logging.WARNING):
            return check_det_dataset(str(path), autodownload=False)
    except SourceError:
        raise
    except FileNotFoundError as error:
        script = YAML.load(path).get("download")
        hint = f"; its download entry is not run by casc_det, it says: {str(script).strip()[:120]!r}" if script else ""
        readme = Path(path).parent / "README.md"
        hint += f"; '{readme}' says how to get it" if readme.is_file() else ""
        raise SourceError(f"data: {str(error).splitlines()[0]}{hint}") from error
    except Exception as error:  # Ultralytics and the YAML parser fail in many ways at files of other kinds
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error, 300)
        raise SourceError(f"data: '{path}' is no dataset YAML ({reason or type(error).__name__})") from error


def is_yaml(data: object) -> bool:
    """Whether `data` names a dataset YAML, not images."""
    return Path(str(data)).suffix in (".yaml", ".yml")


def read_data(data: str | Path, teacher: str | None, names: str | None, trust: bool = False) -> dict:
    """What Ultralytics' trainer knows of a data set, from a dataset YAML or from images without labels."""
    if is_yaml(data):
        return read_dataset(data)
    if not teacher:
        raise ArgumentError(f"data: '{data}' has no labels; give teacher=..., or a dataset YAML with labels")
    train, val = hold_out(list_images(str(data)))
    classes = read_names(names) if names else teacher_names(teacher, trust)
    return {"train": train, "val": val, "names": classes, "nc": len(classes), "channels": 3}


def read_names(path: str | Path) -> dict[int, str]:
    """The class names of a dataset YAML."""
    if not Path(path).is_file():
        raise SourceError(f"names: '{path}' does not exist; give the path of a dataset YAML with a 'names' entry")
    try:
        names = numbered(YAML.load(path)["names"])
    except Exception as error:  # the YAML parser fails in many ways at files of other kinds
        raise SourceError(f"names: '{path}' is no dataset YAML with a 'names' entry") from error
    if not names:
        raise SourceError(f"names: '{path}' names no class")
    return names


def numbered(names: dict | list) -> dict[int, str]:
    """Class names by their numbers."""
    return dict(names) if isinstance(names, dict) else dict(enumerate(names))


def teacher_names(path: str | Path, trust: bool = False) -> dict[int, str]:
    """The class names in a checkpoint; ArgumentError where it is a state dict, which has none."""
    if Path(path).suffix == ".safetensors":
        raise ArgumentError(
            f"names: the teacher '{path}' is a state dict without class names; give names=<dataset YAML>"
        )
    return numbered(read_checkpoint(path, trust, "teacher").names)


def image_size(file: str) -> tuple[int, int]:
    """(width, height) in pixels as the file is decoded, turned as EXIF says; OSError where it is no image."""
    try:
        with open_image(file) as image:
            width, height = exif_size(image)
            return width, height
    except Exception as error:  # Pillow's decoders fail in many ways at damaged files
        raise OSError(str(error)) from error


class ImageDataset(YOLODataset):
    """Images without labels; `img_path` is a list of files. Unreadable ones are named and left out."""

    def get_img_files(self, img_path: Iterable[str]) -> list[str]:
        """The images: as they are given."""
        return list(img_path)

    def get_labels(self) -> list[dict]:
        """A label without boxes for each image that can be read."""
        labels: list[dict] = []
        for file in self.im_files:
            try:
                with open_image(file) as image:
                    image.verify()
                    width, height = image.size
            except (OSError, SyntaxError, ValueError) as error:
                LOGGER.warning(printable(f"data: '{file}' is skipped, it cannot be read as a picture ({error})"))
                continue
            label: dict = {"im_file": file, "shape": (height, width), "segments": [], "keypoints": None}
            label |= {"cls": np.zeros((0, 1), np.float32), "bboxes": np.zeros((0, 4), np.float32)}
            labels.append(label | {"normalized": True, "bbox_format": "xywh"})
        if not labels:
            raise SourceError(f"data: none of {len(self.im_files)} files can be read as a picture")
        self.im_files = [label["im_file"] for label in labels]
        return labels
