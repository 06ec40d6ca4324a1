"""Ultralytics dataset YAMLs, with the labels that Ultralytics trains and validates on."""

import os
from pathlib import Path

from casc_det.errors import SourceError
from casc_det.evaluation.truth import Truth, make_image

SPLITS = ("train", "val", "test", "minival")  # the entries whose paths Ultralytics looks up


def read_yaml(path: Path, split: str) -> Truth:
    """Images and labels as Ultralytics reads them; what it leaves out is named. The key of an image is its path from
    the folder that all have in common.

    Raises:
        SourceError: the file is no dataset YAML, has no such split, or no image of it can be used.
    """
    from casc_det.yolo.data import read_dataset
    from casc_det.yolo.labels import read_labels

    data = read_dataset(path)
    if split not in SPLITS or not data.get(split):
        known = ", ".join(key for key in SPLITS if data.get(key)) or "none"
        raise SourceError(f"data: '{path}' has no '{split}' entry with images; give split= ({known})")
    names = [data["names"].get(label) for label in range(len(data["names"]))]
    if None in names:
        raise SourceError(
            f"data: '{path}': names: expected the indices 0 to {len(names) - 1}, got {list(data['names'])}"
        )
    found, problems, damaged = read_labels(data, split)
    root = os.path.commonpath([os.path.dirname(os.path.abspath(label.file)) for label in found])
    images = []
    for label in found:
        key = Path(os.path.relpath(os.path.abspath(label.file), root)).as_posix()
        (width, height), boxes = label.size, label.boxes
        corners = (boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
        rows = [
            (x1 * width, y1 * height, x2 * width, y2 * height, int(c), False, False, None)
            for (x1, y1), (x2, y2), c in zip(*corners, label.classes, strict=True)
        ]
        images.append(make_image(key, label.file, (width, height), rows, problems))
    return Truth("yaml", f"{path.stem} {split}", names, list(range(1, len(names) + 1)), images, problems, damaged)
