"""What is really in the images: COCO `instances_*.json`, a VOC folder, or an Ultralytics dataset YAML.

Boxes are xyxy absolute pixels in continuous coordinates: a VOC box (1-based, inclusive corners) xmin..xmax becomes
xmin-1..xmax. What cannot be used is named in `problems`, never dropped in silence.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from casc_det.errors import ArgumentError, SourceError
from casc_det.heads.detect.boxes import areas

Row = tuple[float, float, float, float, int, bool, bool, float | None]  # x1, y1, x2, y2, label, crowd, difficult, area


@dataclass
class LabelledImage:
    """One image and its objects.

    Attributes:
        key: unique in the data set: the image id as in the COCO file, the name in the VOC list, or the path from the
            folder that all images of a YAML have in common.
        width, height: of the file as it is decoded, in pixels.
        boxes: (N, 4) xyxy pixels. labels: (N,) indices into `Truth.names`.
        crowd: (N,) bool, COCO crowds: they match any number of detections and count for nothing.
        difficult: (N,) bool, VOC: neither hit nor miss.
        areas: (N,) square pixels, COCO's own where given, else that of the box.
    """

    key: int | str
    path: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray


@dataclass
class Truth:
    """A data set to score on.

    Attributes:
        kind: "coco", "voc" or "yaml".
        names: class names, index = label. category_ids: their ids in a COCO file, else 1, 2, ...
        problems: what could not be used or may not fit, one line each; `damaged` counts the images among it.
    """

    kind: str
    name: str
    names: list[str]
    category_ids: list[int]
    images: list[LabelledImage]
    problems: list[str] = field(default_factory=list)
    damaged: int = 0


def make_image(
    key: int | str, path: str | Path, size: tuple[int, int], rows: Iterable[Row], problems: list[str]
) -> LabelledImage:
    """An image of `size` (width, height) from its objects; boxes without extent are skipped and named in `problems`."""
    kept = []
    for row in rows:
        if not (row[2] > row[0] and row[3] > row[1]):
            corners = ", ".join(f"{v:g}" for v in row[:4])
            problems.append(f"{Path(path).name}: box without extent ({corners}) skipped")
            continue
        kept.append(row)
    boxes = np.array([row[:4] for row in kept], dtype=np.float64).reshape(-1, 4)
    own = areas(boxes)
    given = np.array([own[i] if row[7] is None else row[7] for i, row in enumerate(kept)], dtype=np.float64)
    column = lambda i, kind: np.array([row[i] for row in kept], dtype=kind)
    objects = (boxes, column(4, np.int64), column(5, bool), column(6, bool), given)
    return LabelledImage(key, str(path), *size, *objects)


def read_truth(data: str | Path, images: str | Path | None = None, split: str = "val") -> Truth:
    """Read a data set for scoring.

    Args:
        data: COCO `instances_*.json`, a VOC folder (JPEGImages, Annotations, ImageSets/Main), or a dataset YAML.
        images: folder of the images of a COCO file; default: the sibling `images/<split>` of `annotations`.
        split: list in ImageSets/Main, or key of the YAML.

    Raises:
        ArgumentError: `images` does not belong to this kind.
        SourceError: the data set or all of its images are missing, or it is none of the three.
    """
    from casc_det.evaluation.read_coco import read_coco
    from casc_det.evaluation.read_voc import read_voc
    from casc_det.evaluation.read_yaml import read_yaml

    path = Path(str(data))
    if not os.path.exists(path):
        raise SourceError(f"data: '{data}' does not exist; give a COCO .json, a VOC folder or a dataset YAML")
    coco = os.path.isfile(path) and path.suffix.lower() == ".json"
    if images is not None and not coco:
        raise ArgumentError(f"images: belongs to a COCO .json; '{data}' says itself where its images are; leave it out")
    if os.path.isdir(path):
        truth = read_voc(path, split)
    elif coco:
        truth = read_coco(path, images)
    elif path.suffix.lower() in (".yaml", ".yml"):
        truth = read_yaml(path, split)
    else:
        raise SourceError(f"data: '{data}' is no COCO .json, VOC folder or dataset YAML")
    present = [os.path.isfile(image.path) for image in truth.images]
    if not any(present):
        first, remedy = truth.images[0].path, "give images=<folder>" if coco else "its folder is JPEGImages"
        raise SourceError(f"data: none of the {len(present)} images is there, for example '{first}'; {remedy}")
    for image, there in zip(truth.images, present, strict=True):
        if not there:
            truth.problems.append(f"{Path(image.path).name}: listed, but the picture is absent; skipped")
    truth.damaged += present.count(False)
    truth.images = [image for image, there in zip(truth.images, present, strict=True) if there]
    if truth.kind != "yaml":  # Ultralytics measured these
        _check_sizes(truth)
    return truth


def limited(truth: Truth, limit: int | None) -> Truth:
    """The first `limit` images; None: all."""
    return truth if limit is None else replace(truth, images=truth.images[:limit])


def _check_sizes(truth: Truth) -> None:
    """Give every image the size of its file, and name the images that are annotated with another one."""
    from casc_det.yolo.data import image_size

    other = []
    for image in truth.images:
        try:
            size = image_size(image.path)
        except OSError:  # named when it is read
            continue
        annotated = (image.width, image.height)
        image.width, image.height = size
        if 0 not in annotated and annotated != size:
            other.append((image, annotated))
    if other:
        image, (width, height) = other[0]
        truth.problems.append(
            f"{len(other)} of {len(truth.images)} images have another size than annotated, so boxes may not fit "
            f"({Path(image.path).name}: {image.width} x {image.height}, annotated {width} x {height}); are these "
            "the right images (images=<folder>)?"
        )
        truth.damaged += len(other)
