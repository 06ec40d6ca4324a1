"""Mutated data sets for `fuzz.py`: small COCO files, VOC folders and dataset YAMLs, read and scored.

Detections are made from the objects that were read, so that most cases have hits; a few go through the whole of `val`.
"""

import json
import logging
import math
import random
import shutil
from pathlib import Path

import numpy as np
from fuzz_images import drawing
from fuzz_models import small_detector
from PIL import Image

from casc_det.api import SpikingYOLO
from casc_det.evaluation.classes import match_classes
from casc_det.evaluation.scores import score
from casc_det.evaluation.truth import read_truth

NAMES = ["cat", "dog", "hare"]
ODD = (
    None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-30, 1e30, math.nan, math.inf, "", "x",
    "1", "2.5", " 3 ", "NaN", "\ud800", "a\nb", "../../x", "/etc/passwd", "n" * 3000, [], {}, [1], [1, 2, 3, 4],
    ["1", "2", "3", "4"], [0, 0, 0, 0], [1e308] * 4, [[1]], {"id": 1}, "cat", "a.png", "\u00e9\u732b",
)  # fmt: skip
WORDS = (
    "", "0", "-1", "nan", "inf", "1e400", "99999999999999999999", "0.5", "abc", "\x00", "\ufeff", "<", "</object>",
    "&x;", "<!DOCTYPE a [<!ENTITY x 'y'>]>", "<bndbox></bndbox>", "train:", "names: {0: a}", "- ", "\t",
    "!!python/object:os.x {}", "*a", "&a [*a]", "../..", "\n\n", "{", "]", "'", "2 0.5 0.5 0.1", "1 2 3 4 5 6 7",
)  # fmt: skip


def write_base(folder: Path) -> None:
    """A COCO file, a VOC folder and a YAML set of the same three images."""
    chance = random.Random(0)
    boxes = [[(5, 6, 20, 30, 0), (22, 4, 44, 20, 1)], [(1, 1, 30, 30, 2)], []]
    for i in range(3):
        for place in ("coco/images/val", "voc/JPEGImages", "yolo/images/val"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing(chance)).save(folder / place / f"{'abc'[i]}.{'png' if i else 'jpg'}")
    objects = [(i, box) for i, found in enumerate(boxes) for box in found]
    annotations = [
        {
            "id": n,
            "image_id": i + 1,
            "category_id": c + 1,
            "bbox": [x, y, u - x, v - y],
            "area": (u - x) * (v - y),
            "iscrowd": 0,
        }
        for n, (i, (x, y, u, v, c)) in enumerate(objects, 1)
    ]
    images = [
        {"id": i + 1, "file_name": f"{'abc'[i]}.{'png' if i else 'jpg'}", "width": 48, "height": 36} for i in range(3)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    (folder / "coco/annotations").mkdir(exist_ok=True)
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "coco/annotations/instances_val.json").write_text(json.dumps(content))
    for place in ("voc/Annotations", "voc/ImageSets/Main", "yolo/labels/val"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "voc/ImageSets/Main/val.txt").write_text("a\nb\nc\n")
    for i, found in enumerate(boxes):
        parts = "".join(
            f"<object><name>{NAMES[c]}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{u}</xmax><ymax>{v}</ymax></bndbox></object>"
            for x, y, u, v, c in found
        )
        size = "<size><width>48</width><height>36</height><depth>3</depth></size>"
        text = f"<annotation><filename>{images[i]['file_name']}</filename>{size}{parts}</annotation>"
        (folder / f"voc/Annotations/{'abc'[i]}.xml").write_text(text)
        lines = [f"{c} {(x + u) / 96} {(y + v) / 72} {(u - x) / 48} {(v - y) / 36}" for x, y, u, v, c in found]
        (folder / f"yolo/labels/val/{'abc'[i]}.txt").write_text("\n".join(lines))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))
    (folder / "yolo/data.yaml").write_text(f"train: images/val\nval: images/val\nnames:\n{names}")


class Kind:
    """Cases of mutated data sets; see `fuzz.py`."""

    def __init__(self, folder: Path):
        logging.getLogger("ultralytics").setLevel(logging.CRITICAL)
        self.base = folder
        if not (folder / "yolo/data.yaml").exists():
            write_base(folder)
        self.model = SpikingYOLO(small_detector("add", seed=3))
        self.val(folder / "yolo/data.yaml", folder.parent / "warm")

    def val(self, data: Path, project: Path) -> dict:
        return self.model.val(data, timesteps="4,auto", imgsz=32, bootstrap=5, project=str(project))

    def make(self, chance: random.Random, folder: Path) -> str:
        kind = chance.choice(("coco", "coco", "voc", "yolo"))
        shutil.copytree(self.base / kind, folder / kind, ignore=shutil.ignore_patterns("*.cache"))
        done = []
        for _ in range(chance.choice((1, 1, 2, 3))):
            if kind == "coco" and chance.random() < 0.8:
                file = folder / "coco/annotations/instances_val.json"
                done.append(change_json(file, chance))
            else:
                files = sorted(path for path in (folder / kind).rglob("*") if path.is_file())
                if files:
                    done.append(change_file(chance.choice(files), chance))
        return f"{kind}: {'; '.join(done)}"

    def run(self, chance: random.Random, folder: Path) -> tuple[str, str]:
        kind = next(folder.iterdir()).name
        data = {"coco": "coco/annotations/instances_val.json", "voc": "voc", "yolo": "yolo/data.yaml"}[kind]
        if chance.random() < 0.03:
            content = self.val(folder / data, folder / "run")
            return check_rows({row["timesteps"] or row["network"]: row for row in content["rows"]}, "whole")
        truth = read_truth(folder / data)
        if any(not np.isfinite(p.boxes).all() or not np.isfinite(p.areas).all() for p in truth.images):
            return "nan", "boxes of the data set"
        protocol = chance.choice(("coco", "voc07", "voc12"))
        maps = {"snn": match_classes(NAMES, truth.names, None)}
        records = [{"rows": {row: detections(image, chance) for row in ("ann", "auto")}} for image in truth.images]
        (folder / "run").mkdir()
        rows, _ = score(truth, records, maps, protocol, 3, folder / "run")
        return check_rows(rows, f"{len(truth.images)} images, {len(truth.problems)} problems")


def detections(image, chance: random.Random) -> dict:
    """Boxes near those of an image, in labels of the model, and one at random."""
    boxes = [[v + chance.uniform(-1, 1) for v in box] for box in image.boxes.tolist()[:20]] + [[1, 2, 20, 22]]
    return {
        "boxes": boxes,
        "scores": sorted((chance.random() for _ in boxes), reverse=True),
        "labels": [chance.randrange(3) for _ in boxes],
    }


def check_rows(rows: dict, text: str) -> tuple[str, str]:
    """Every AP lies in 0..1 or is not known (NaN before it is written)."""
    for row, values in rows.items():
        for key, value in {**{k: values.get(k) for k in ("mAP50-95", "mAP50")}, **values["classes"]}.items():
            if value is not None and not math.isnan(value) and not 0 <= value <= 1:
                return "nan", f"{row} {key} {value}"
    return "answered", text


def change_json(file: Path, chance: random.Random) -> str:
    """Another value, an entry too many or too few at a random place of a JSON file."""
    try:
        content = json.loads(file.read_text(errors="surrogatepass"))
    except (OSError, ValueError, RecursionError):
        return "no JSON any more"
    place, at, path = {"": content}, "", []
    while isinstance(place[at], dict | list) and place[at] and chance.random() < 0.85:
        place = place[at]
        at = chance.choice(list(place)) if isinstance(place, dict) else chance.randrange(len(place))
        path.append(str(at)[:20])
    roll = chance.random()
    if roll < 0.15 and isinstance(place, dict) and path:
        del place[at]
        change = "left out"
    elif roll < 0.3 and isinstance(place, list):
        place.append(json.loads(json.dumps(place[at])))
        change = "twice"
    elif roll < 0.5 and type(place[at]) in (int, float):
        place[at] = chance.choice((place[at] + 1, -place[at], place[at] * 1000, float(place[at]), str(place[at])))
        change = f"-> {place[at]!r}"
    else:
        place[at] = chance.choice(ODD)
        change = f"-> {place[at]!r:.30}"
    if path:
        text = json.dumps(content)
    else:
        text = chance.choice((json.dumps(ODD[5]), "[" * 4000 + "]" * 4000, "{" * 100, ""))
    file.write_text(text)
    return f"{'/'.join(path)} {change}"


def change_file(file: Path, chance: random.Random) -> str:
    """A change of any file: bytes, words, lines, its name, or that it is there."""
    kind, content = chance.randrange(8), bytearray(file.read_bytes())
    match kind:
        case 0:
            file.unlink()
        case 1:
            file.rename(file.with_name(chance.choice((f"{file.stem}.JPG", f"{file.stem} 2{file.suffix}", "z.txt"))))
        case 2:
            file.write_bytes(content[: chance.randrange(len(content) + 1)])
        case 3:
            for _ in range(chance.choice((1, 4, 30)) if content else 0):
                content[chance.randrange(len(content))] = chance.randrange(256)
            file.write_bytes(content)
        case 4 | 5 | 6:
            lines = content.decode("latin-1").split(chance.choice((" ", "\n", ">", "<")))
            lines[chance.randrange(len(lines))] = chance.choice(WORDS)
            file.write_bytes(chance.choice((" ", "\n", ">", "<")).join(lines).encode("utf-8", "replace"))
        case 7:
            text = content.decode("latin-1")
            at = chance.randrange(len(text) + 1)
            file.write_bytes((text[:at] + chance.choice(WORDS) + text[at:]).encode("utf-8", "replace"))
    return f"{file.name}: change {kind}"
