"""COCO `instances_*.json`: read field by field, so that a refusal names the file and the place."""

import json
import os
from collections import Counter
from pathlib import Path

from casc_det.errors import SourceError, one_line
from casc_det.evaluation.fields import flag, identity, listing, number, part, short, side, text
from casc_det.evaluation.truth import Row, Truth, make_image


def read_coco(path: Path, images: str | Path | None = None) -> Truth:
    """Every image of the file is scored, also those without objects; boxes of images that are not listed are left out.

    Ids may be any integers and texts, in any order; numbers may be given as text. Several ids under one class name are
    one class. What the file does not need (annotation ids, areas, sizes of images) may be absent.

    Raises:
        SourceError: the file is no instances file, or a value in it cannot be.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique)
        if isinstance(content, list):
            raise ValueError("it is a list, as files of results are; give the annotations, instances_*.json")
        listed, annotations = listing(content, "images"), listing(content, "annotations")
        folder = Path(images) if images else path.parent.parent / "images" / path.stem.removeprefix("instances_")
        problems: list[str] = []
        names, category_ids, label_of = _classes(listing(content, "categories"), annotations, problems)
        rows = _rows(listed, annotations, label_of, problems)
        labelled = []
        for i, (entry, objects) in enumerate(zip(listed, rows.values(), strict=True)):
            where = f"images[{i}]"
            file = _image(folder, text(part(entry, "file_name", where), f"{where}.file_name"))
            width, height = (side(entry.get(key), f"{where}.{key}") for key in ("width", "height"))
            labelled.append(make_image(entry["id"], file, (width, height), objects, problems))
        return Truth("coco", path.stem, names, category_ids, labelled, problems)
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        kinds = {RecursionError: "it is nested too deeply", MemoryError: "it is too large for the memory"}
        reason = kinds.get(type(error)) or one_line(error)
        raise SourceError(f"data: '{path}' is no COCO instances file ({reason})") from error


def _image(folder: Path, name: str) -> Path:
    """The image of a name, which may have been written on Windows."""
    return folder / name if "\\" not in name or os.path.isfile(folder / name) else folder / name.replace("\\", "/")


def _unique(pairs: list[tuple]) -> dict:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {short(twice)} is there twice in one object")
    return entry


def _classes(categories: list, annotations: list, problems: list[str]) -> tuple[list[str], list, dict]:
    """(names, the id of each class as predictions carry it, id as compared -> label)."""
    if not categories:
        raise ValueError("categories: expected at least one class")
    labels: dict[str, int] = {}
    label_of, own = {}, {}
    for i, entry in enumerate(categories):
        where = f"categories[{i}]"
        key = identity(part(entry, "id", where), f"{where}.id")
        if key in label_of:
            raise ValueError(f"{where}.id: {short(entry['id'])} is there twice")
        name = text(part(entry, "name", where), f"{where}.name")
        label_of[key], own[key] = labels.setdefault(name, len(labels)), entry["id"]
    used = set()
    for i, entry in enumerate(annotations):
        key = identity(part(entry, "category_id", f"annotations[{i}]"), f"annotations[{i}].category_id")
        if key not in label_of:
            raise ValueError(f"annotations[{i}].category_id: {short(entry['category_id'])} is none of the categories")
        used.add(key)
    ids: list[int | str] = []
    keys_of: list[list] = [[] for _ in labels]
    for key, label in label_of.items():
        keys_of[label].append(key)
    for name, keys in zip(labels, keys_of, strict=True):
        with_objects = [key for key in keys if key in used]
        ids.append(own[(with_objects or keys)[0]])
        if len(with_objects) > 1:
            several = ", ".join(short(own[key]) for key in with_objects)
            problems.append(f"class '{name}' has several ids ({several}): one class, with id {short(ids[-1])}")
    return list(labels), ids, label_of


def _rows(listed: list, annotations: list, label_of: dict, problems: list[str]) -> dict[int | str, list[Row]]:
    """id of each image as compared -> its rows as `make_image` takes them."""
    if not listed:
        raise ValueError("images: expected at least one image")
    rows: dict[int | str, list[Row]] = {}
    for i, entry in enumerate(listed):
        key = identity(part(entry, "id", f"images[{i}]"), f"images[{i}].id")
        if key in rows:
            raise ValueError(f"images[{i}].id: {short(entry['id'])} is there twice")
        rows[key] = []
    unlisted: Counter = Counter()
    for i, a in enumerate(annotations):
        where = f"annotations[{i}]"
        key = identity(part(a, "image_id", where), f"{where}.image_id")
        if key not in rows:
            unlisted[key] += 1
            continue
        bbox = part(a, "bbox", where)
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"{where}.bbox: expected 4 numbers, got {short(bbox)}")
        x, y, w, h = (number(value, f"{where}.bbox") for value in bbox)
        area = None if a.get("area") is None else number(a["area"], f"{where}.area", 0)
        label = label_of[identity(a["category_id"], where)]
        rows[key].append((x, y, x + w, y + h, label, flag(a.get("iscrowd"), f"{where}.iscrowd"), False, area))
    if unlisted:
        first = short(next(iter(unlisted)))
        boxes, count = sum(unlisted.values()), len(unlisted)
        problems.append(
            f"{boxes} annotations belong to {count} images that are not listed (image_id {first}): left out"
        )
    return rows
