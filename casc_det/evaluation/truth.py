"""What is really in the pictures: COCO `instances_*.json`, a VOC folder, or an Ultralytics dataset YAML.

Boxes are xyxy absolute pixels in continuous coordinates: a VOC box (1-based, inclusive corners) xmin..xmax becomes
xmin-1..xmax. What cannot be used is named in `problems`, never dropped in silence.
"""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from casc_det.errors import SourceError


@dataclass
class Picture:
    """One picture and its objects.

    Attributes:
        key: COCO image id, or the file's stem.
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
        problems: what could not be used, one line each; `damaged` counts those that are files, not boxes.
    """

    kind: str
    name: str
    names: list[str]
    category_ids: list[int]
    pictures: list[Picture]
    problems: list[str] = field(default_factory=list)
    damaged: int = 0


def make_picture(key, path, width, height, rows, problems: list[str]) -> Picture:
    """A picture from rows (x1, y1, x2, y2, label, crowd, difficult, area or None); boxes without extent are skipped."""
    kept = []
    for row in rows:
        if not (row[2] > row[0] and row[3] > row[1]):
            corners = ", ".join(f"{v:g}" for v in row[:4])
            problems.append(f"{Path(path).name}: box without extent ({corners}) skipped")
            continue
        kept.append(row)
    boxes = np.array([row[:4] for row in kept], dtype=np.float64).reshape(-1, 4)
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    areas = np.array([own[i] if row[7] is None else row[7] for i, row in enumerate(kept)], dtype=np.float64)
    column = lambda i, kind: np.array([row[i] for row in kept], dtype=kind)
    return Picture(key, str(path), width, height, boxes, column(4, np.int64), column(5, bool), column(6, bool), areas)


def read_truth(data, images=None, split: str = "val") -> Truth:
    """Read a data set for scoring.

    Args:
        data: COCO `instances_*.json`, a VOC folder (JPEGImages, Annotations, ImageSets/Main), or a dataset YAML.
        images: folder of the pictures; default for COCO: the sibling `images/<split>` of `annotations`.
        split: list in ImageSets/Main, or key of the YAML.

    Raises:
        SourceError: the data set or all of its pictures are missing, or it is none of the three.
    """
    path = Path(str(data))
    if not path.exists():
        raise SourceError(f"data: '{data}' does not exist; give a COCO .json, a VOC folder or a dataset YAML")
    if path.suffix == ".json":
        truth = read_coco(path, images)
    elif path.is_dir():
        truth = read_voc(path, split)
    elif path.suffix in (".yaml", ".yml"):
        truth = read_yaml(path, split)
    else:
        raise SourceError(f"data: '{data}' is no COCO .json, VOC folder or dataset YAML")
    absent = [picture for picture in truth.pictures if not Path(picture.path).is_file()]
    if len(absent) == len(truth.pictures):
        where = Path(truth.pictures[0].path).parent if truth.pictures else path
        raise SourceError(f"data: none of the {len(truth.pictures)} pictures is in '{where}'; give images=<folder>")
    for picture in absent:
        truth.problems.append(f"{Path(picture.path).name}: listed, but the picture is absent; skipped")
    truth.damaged += len(absent)
    truth.pictures = [picture for picture in truth.pictures if Path(picture.path).is_file()]
    return truth


def read_coco(path: Path, images=None) -> Truth:
    """Every picture of the file is scored, also those without objects."""
    try:
        content = json.loads(path.read_text())
        listed, annotations, categories = (content[key] for key in ("images", "annotations", "categories"))
        ids = [category["id"] for category in categories]
        label_of = {number: label for label, number in enumerate(ids)}
        rows: dict[int, list] = {image["id"]: [] for image in listed}
        for a in annotations:
            x, y, w, h = a["bbox"]
            row = (x, y, x + w, y + h, label_of[a["category_id"]], bool(a.get("iscrowd", 0)), False, a.get("area"))
            rows[a["image_id"]].append(row)
        folder = Path(images) if images else path.parent.parent / "images" / path.stem.removeprefix("instances_")
        problems: list[str] = []
        pictures = [
            make_picture(i["id"], folder / i["file_name"], i["width"], i["height"], rows[i["id"]], problems)
            for i in listed
        ]
        return Truth("coco", path.stem, [c["name"] for c in categories], ids, pictures, problems)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(f"data: '{path}' is no COCO instances file ({type(error).__name__}: {error})") from error


def read_voc(path: Path, split: str) -> Truth:
    """Classes are those of the annotations, in alphabetical order."""
    listing = path / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file() and (found := sorted(path.glob("annotations/instances_*.json"))):
        raise SourceError(f"data: '{path}' is a COCO folder; give its annotation file, for example data={found[-1]}")
    if not listing.is_file():
        known = ", ".join(sorted(file.stem for file in listing.parent.glob("*.txt"))) or "none"
        raise SourceError(
            f"data: '{listing}' does not exist; a VOC folder needs ImageSets/Main/<split>.txt; give split= ({known})"
        )
    stems = [line.split()[0] for line in listing.read_text().splitlines() if line.strip()]
    problems: list[str] = []
    parsed, damaged = [], 0
    for stem in stems:
        file = path / "Annotations" / f"{stem}.xml"
        try:
            parsed.append((stem, *_voc_objects(file)))
        except FileNotFoundError:
            problems.append(f"{stem}.xml: absent, so picture {stem} is unlabelled; skipped")
            damaged += 1
        except (ElementTree.ParseError, ValueError, AttributeError, TypeError) as error:
            problems.append(f"{stem}.xml: broken ({error}); skipped")
            damaged += 1
    if not parsed:
        raise SourceError(f"data: no annotation of split '{split}' in '{path}' can be read")
    names = sorted({row[4] for _, _, _, rows, _ in parsed for row in rows})
    label_of = {name: label for label, name in enumerate(names)}
    pictures = [
        make_picture(stem, path / "JPEGImages" / name, w, h, [(*r[:4], label_of[r[4]], *r[5:]) for r in rows], problems)
        for stem, w, h, rows, name in parsed
    ]
    return Truth("voc", f"{path.name} {split}", names, list(range(1, len(names) + 1)), pictures, problems, damaged)


def _voc_objects(file: Path):
    """(width, height, rows, file name of the picture) of one annotation."""
    root = ElementTree.parse(file).getroot()
    width, height = (int(root.findtext(f"size/{key}")) for key in ("width", "height"))
    rows = []
    for item in root.iter("object"):
        x1, y1, x2, y2 = (float(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
        extent = x2 > x1 and y2 > y1  # a point stays a point: it is left out with its corners named
        corners = (x1 - 1, y1 - 1, x2, y2) if extent else (x1, y1, x2, y2)
        difficult = item.findtext("difficult", "0").strip() == "1"
        rows.append((*corners, item.findtext("name").strip(), False, difficult, None))
    suffixes = (file.parent.parent / "JPEGImages" / f"{file.stem}{suffix}" for suffix in (".jpg", ".jpeg", ".png"))
    name = next((path.name for path in suffixes if path.is_file()), f"{file.stem}.jpg")
    return width, height, rows, name


def read_yaml(path: Path, split: str) -> Truth:
    """YOLO labels: `class x y width height` in 0..1, beside the pictures with `labels` in place of `images`."""
    from casc_det.yolo.data import label_files, list_pictures, picture_size, read_dataset

    data = read_dataset(path)
    if not data.get(split):
        raise SourceError(f"data: '{path}' has no '{split}' entry; give split=train, val or test")
    source = data[split]
    files = list_pictures(",".join(source) if isinstance(source, list) else source)
    names = [str(name) for _, name in sorted(data["names"].items())]
    problems: list[str] = []
    pictures, damaged = [], 0
    for file, label_file in zip(files, label_files(files), strict=True):
        try:
            width, height = picture_size(file)
            rows = []
            for line in Path(label_file).read_text().splitlines() if Path(label_file).is_file() else []:
                if line.strip():
                    label, x, y, w, h = (float(v) for v in line.split()[:5])
                    if not 0 <= label < len(names):
                        raise ValueError(f"class {label:g} of {len(names)}")
                    corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
                    rows.append((*corners, int(label), False, False, None))
        except (ValueError, OSError) as error:
            problems.append(f"{Path(file).name}: picture or label broken ({error}); skipped")
            damaged += 1
            continue
        pictures.append(make_picture(Path(file).stem, file, width, height, rows, problems))
    if not pictures:
        raise SourceError(f"data: no picture of '{split}' in '{path}' can be read")
    return Truth("yaml", f"{path.stem} {split}", names, list(range(1, len(names) + 1)), pictures, problems, damaged)
