"""Unlabelled pictures as an Ultralytics data set, for distillation."""

import hashlib
from pathlib import Path

import numpy as np
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER

from casc_det.errors import SourceError
from casc_det.yolo import open_picture

HELD_OUT = 0.05


def list_pictures(source: str) -> list[str]:
    """Picture files of `source`: folders (searched deeply), picture files and .txt lists, comma-separated."""
    files = []
    for part in (p.strip() for p in str(source).split(",")):
        path = Path(part)
        if path.is_dir():
            files += [f for f in sorted(path.rglob("*")) if f.suffix[1:].lower() in IMG_FORMATS]
        elif path.suffix == ".txt" and path.is_file():
            files += [path.parent / line.strip() for line in path.read_text().splitlines() if line.strip()]
        elif path.is_file():
            files.append(path)
        else:
            raise SourceError(
                f"data: '{part}' does not exist; give a dataset YAML, a folder of pictures or a .txt list"
            )
    if not files:
        raise SourceError(f"data: no pictures found in '{source}'; known suffixes are {', '.join(sorted(IMG_FORMATS))}")
    return [str(f) for f in files]


def hold_out(files: list[str]) -> tuple[list[str], list[str]]:
    """Split into training and held-out pictures by a hash of the file name (5 %, at least one, at most 256)."""
    ranked = sorted(files, key=lambda f: hashlib.sha256(Path(f).name.encode()).digest())
    count = min(max(round(len(files) * HELD_OUT), 1), 256)
    return (sorted(ranked[count:]), sorted(ranked[:count])) if len(files) > 1 else (files, files)


class PictureDataset(YOLODataset):
    """Pictures without labels; `img_path` is a list of files. Unreadable ones are named and left out."""

    def get_img_files(self, img_path):
        return list(img_path)

    def get_labels(self):
        labels = []
        for file in self.im_files:
            try:
                with open_picture(file) as picture:
                    picture.verify()
                    width, height = picture.size
            except (OSError, SyntaxError, ValueError) as error:
                LOGGER.warning(f"data: '{file}' is skipped, it cannot be read as a picture ({error})")
                continue
            label = {"im_file": file, "shape": (height, width), "segments": [], "keypoints": None}
            label |= {"cls": np.zeros((0, 1), np.float32), "bboxes": np.zeros((0, 4), np.float32)}
            labels.append(label | {"normalized": True, "bbox_format": "xywh"})
        if not labels:
            raise SourceError(f"data: none of {len(self.im_files)} files can be read as a picture")
        self.im_files = [label["im_file"] for label in labels]
        return labels
