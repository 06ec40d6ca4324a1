"""Data sets of a few random images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def save_images(folder: Path, count=4, size=(80, 64)):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{i:03d}.jpg")


def coco_file(tmp_path: Path) -> Path:
    """A COCO data set of 4 images: objects, a crowd, an image without objects, a box without extent."""
    save_images(tmp_path / "images" / "val")
    images = [{"id": 10 + i, "file_name": f"{i:03d}.jpg", "width": 80, "height": 64} for i in range(4)]
    boxes = [(10, 1, [5, 5, 40, 30], 0), (10, 3, [20, 10, 50, 50], 0), (11, 7, [0, 0, 80, 64], 1)]
    boxes += [(11, 1, [8, 8, 30, 30], 0), (13, 9, [10, 4, 60, 50], 0), (13, 9, [5, 5, 0, 0], 0)]
    annotations = [
        {"id": i, "image_id": image, "category_id": c, "bbox": b, "iscrowd": crowd, "area": b[2] * b[3]}
        for i, (image, c, b, crowd) in enumerate(boxes, 1)
    ]
    categories = [{"id": i, "name": name} for i, name in zip((1, 3, 7, 9), ("cat", "dog", "tv", "bird"), strict=True)]
    path = tmp_path / "annotations" / "instances_val.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def voc_folder(root: Path) -> Path:
    save_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for i in range(4):
        box = "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>50</xmax><ymax>45</ymax></bndbox>"
        flat = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
        items = f"<object><name>sofa</name><difficult>{i % 2}</difficult>{box}</object>"
        items += f"<object><name>tvmonitor</name>{flat if i == 1 else box}</object>"
        size = "<size><width>80</width><height>64</height></size>"
        (root / "Annotations" / f"{i:03d}.xml").write_text(f"<annotation>{size}{items}</annotation>")
    (root / "ImageSets" / "Main" / "val.txt").write_text("000\n001\n002\n003\n")
    return root
