"""YOLO data sets against Ultralytics' own `YOLODataset`, on a corpus of oddities: what counts is what is trained on."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import LOGGER

from casc_det.cli.damage import exit_code
from casc_det.cli.run import main
from casc_det.errors import SourceError
from casc_det.evaluation.truth import read_truth
from casc_det.yolo.data import list_images, read_dataset

ROW, OTHER = "1 0.5 0.5 0.25 0.5", "0 0.25 0.25 0.1 0.2"
LABELS = {  # name: content of its label file (None: there is none)
    "box": ROW + "\n" + OTHER,
    "polygon": "1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n0 0.1 0.1 0.2 0.1 0.2 0.3",
    "three points": "1 0.5 0.1 0.9 0.5 0.5 0.9",
    "odd polygon": "1 0.5 0.1 0.9 0.5 0.5 0.9 0.2",
    "two points": "1 0.5 0.1 0.9 0.5",
    "six columns": ROW + " 0.9",
    "mixed": ROW + "\n1 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5",
    "uneven": ROW + "\n1 0.5 0.5 0.1",
    "duplicates": f"{ROW}\n{OTHER}\n{ROW}\n{ROW}",
    "pixels": "1 32 24 16 24",
    "just above one": "1 0.5 0.5 1.005 1.005",
    "above one": "1 0.5 0.5 1.05 0.5",
    "just below zero": "1 -0.005 0.5 0.1 0.1",
    "below zero": "1 -0.5 0.5 0.1 0.1",
    "negative width": "1 0.5 0.5 -0.005 0.1",
    "negative class": "-1 0.5 0.5 0.1 0.1",
    "class beyond": "3 0.5 0.5 0.1 0.1",
    "class as float": "1.0 0.5 0.5 0.1 0.1",
    "class between": "1.5 0.5 0.5 0.1 0.1",
    "blank lines": f"\n\n{ROW}\n   \n{OTHER}\n\n",
    "tabs": ROW.replace(" ", "\t") + "\r\n" + OTHER + "\r\n",
    "nan": "1 nan 0.5 0.1 0.1",
    "words": "cat 0.5 0.5 0.1 0.1",
    "commas": "1,0.5,0.5,0.1,0.1",
    "no extent": "1 0.5 0.5 0 0.1",
    "empty": "",
    "no label": None,
    "bom": "\ufeff" + ROW,
    "name.with.dots": ROW,
    "[1] ünï": ROW,
}


def save(file: Path, size=(64, 48), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(
        file, **options
    )


def put_label(root: Path, image: str, content):
    file = (root / image.replace("images/", "labels/", 1)).with_suffix(".txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A YAML of all oddities of labels (one each in images/val/*.png) and of files."""
    root = tmp_path_factory.mktemp("yolo")
    for name, content in LABELS.items():
        save(root / f"images/val/{name}.png")
        if content is not None:
            (root / "labels/val").mkdir(parents=True, exist_ok=True)
            (root / f"labels/val/{name}.txt").write_text(content, encoding="utf-8")
    turned = Image.Exif()
    turned[274] = 6
    for name, options in {
        "upper.JPG": {},
        "turned.jpg": {"exif": turned, "quality": 95},
        "grey.bmp": {},
        "modern.webp": {},
        "tiny.png": {"size": (9, 30)},
        "day/0.jpg": {},
        "night/0.jpg": {"size": (48, 64)},
    }.items():
        save(root / "images/val" / name, **options)
        put_label(root, f"images/val/{name}", ROW)
    whole = (root / "images/val/day/0.jpg").read_bytes()
    for name, data in {
        "cut.jpg": whole[: len(whole) // 2],
        "tail.jpg": whole + b"more",
        "zero.jpg": b"",
        "text.jpg": b"no image",
    }.items():
        (root / "images/val" / name).write_bytes(data)
        put_label(root, f"images/val/{name}", ROW)
    put_label(root, "images/val/utf16.png", ROW.encode("utf-16"))
    save(root / "images/val/utf16.png")
    (root / "images/val/notes.md").write_text("not an image")
    save(root / "elsewhere/images/linked/0.jpg")
    put_label(root, "images/val/linked/0.jpg", OTHER)
    (root / "images/val/linked").symlink_to(root / "elsewhere/images/linked")
    (root / "d.yaml").write_text(f"path: {root}\ntrain: images/val\nval: images/val\nnames: [cat, dog, cow]\n")
    return root


def snapshot(root: Path) -> dict:
    return {str(f): (f.stat().st_mtime_ns, f.stat().st_size) for f in sorted(root.rglob("*")) if f.is_file()}


def trained(yaml: Path, split="val") -> dict:
    """What Ultralytics trains on: file -> ((height, width), classes, boxes). It writes into the folder."""
    level = LOGGER.level
    LOGGER.setLevel(logging.CRITICAL)
    try:
        data = read_dataset(yaml)
        dataset = YOLODataset(img_path=data[split], data=data, task="detect", augment=False)
    finally:
        LOGGER.setLevel(level)
    return {label["im_file"]: (label["shape"], label["cls"][:, 0], label["bboxes"]) for label in dataset.labels}


def test_oddities_are_read_as_ultralytics_trains_on_them(corpus, capfd):
    before = snapshot(corpus)
    truth = read_truth(corpus / "d.yaml")
    assert snapshot(corpus) == before, "the user's folder is written to"
    assert capfd.readouterr() == ("", "")
    expected = trained(corpus / "d.yaml")
    assert len(expected) > 20 and [p.path for p in truth.images] == list(expected)
    for image, ((height, width), classes, boxes) in zip(truth.images, expected.values(), strict=True):
        assert (image.width, image.height) == (width, height)
        wanted = [
            ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            for x, y, w, h in boxes.tolist()
            if w > 0 and h > 0
        ]
        assert image.boxes == pytest.approx(np.array(wanted).reshape(-1, 4), abs=1e-9), image.path
        assert image.labels.tolist() == [c for c, (_, _, w, h) in zip(classes, boxes, strict=True) if w > 0 and h > 0]
    every = {str(f) for f in [*(corpus / "images/val").rglob("*"), corpus / "images/val/linked/0.jpg"]}
    images = {f for f in every if f.rpartition(".")[-1].lower() in ("png", "jpg", "bmp", "webp")}
    dropped = images - set(expected)
    assert truth.damaged == len(dropped) > 15
    for file in dropped:
        assert sum(p.startswith(f"{Path(file).name}: ") and p.endswith("; skipped") for p in truth.problems) == 1, file
    named = "\n".join(truth.problems)
    for words in (
        "duplicates.png: 2 duplicate labels removed",
        "pixels.png: non-normalized or out of bounds coordinates",
        "class beyond.png: Label class 3 exceeds dataset class count 3",
        "no extent.png: box without extent",
        "cut.jpg: image file is truncated",
        "mixed.png: labels mix segment and detection rows",
    ):
        assert words in named


def test_boxes_of_polygons_and_turned_images_by_hand(corpus):
    images = {image.key: image for image in read_truth(corpus / "d.yaml").images}
    assert images["polygon.png"].boxes[0] == pytest.approx([6.4, 4.8, 57.6, 43.2], abs=1e-4)
    assert images["box.png"].boxes.tolist()[0] == [24, 12, 40, 36] and images["box.png"].labels.tolist() == [1, 0]
    assert (images["turned.jpg"].width, images["turned.jpg"].height) == (48, 64)
    assert images["turned.jpg"].boxes[0] == pytest.approx([18, 16, 30, 48])
    from casc_det.yolo.images import read_image

    assert read_image(images["turned.jpg"].path).image.shape == (64, 48, 3)


def test_keys_are_paths_from_the_common_folder(corpus):
    keys = [image.key for image in read_truth(corpus / "d.yaml").images]
    assert len(keys) == len(set(keys)) and {"day/0.jpg", "night/0.jpg", "linked/0.jpg", "box.png"} <= set(keys)


@pytest.fixture
def small(tmp_path):
    """Two folders of one image each, the same name in both."""
    for folder in ("a", "b"):
        save(tmp_path / f"set/images/{folder}/0.jpg")
        put_label(tmp_path / "set", f"images/{folder}/0.jpg", ROW)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ("images/a", ["0.jpg"]),
        ("[images/a, images/b]", ["a/0.jpg", "b/0.jpg"]),
        ("images", ["a/0.jpg", "b/0.jpg"]),
        ("list.txt", ["a/0.jpg", "b/0.jpg"]),
        ("[list.txt, images/a]", ["a/0.jpg", "b/0.jpg"]),
    ],
)
@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{'1': dog, '0': cat}"])
def test_entries_of_every_kind_are_those_of_ultralytics(small, entry, keys, names):
    (small / "list.txt").write_text(f"\ufeff./images/a/0.jpg\n{small}/images/b/0.jpg\n", encoding="utf-8")
    (small / "d.yaml").write_text(f"train: images/a\nval: {entry}\nnames: {names}\n")
    truth = read_truth(small / "d.yaml")
    assert truth.names == ["cat", "dog"] and [image.key for image in truth.images] == keys
    assert list(dict.fromkeys(trained(small / "d.yaml"))) == [image.path for image in truth.images]
    twice = entry.startswith("[list")
    assert truth.problems == (["0.jpg: listed twice; counted once"] if twice else []) and truth.damaged == 0


def test_path_entry_is_followed(small, monkeypatch):
    monkeypatch.chdir(small.parent)
    (small.parent / "d.yaml").write_text("path: set\ntrain: images/a\nval: images/b\nnames: [cat, dog]\n")
    assert [Path(p.path) for p in read_truth("d.yaml").images] == [small / "images/b/0.jpg"]


def test_what_lists_leave_out_is_named(small):
    (small / "list.txt").write_text("./images/a/0.jpg\n./images/a/0.jpg \n# note\n./images/c/0.jpg\n\nimages/b/0.jpg\n")
    (small / "d.yaml").write_text("train: images/a\nval: list.txt\nnames: [cat, dog]\n")
    truth = read_truth(small / "d.yaml")
    assert len(truth.images) == 1 and truth.damaged == 4
    assert sum("has no suffix of an image" in p for p in truth.problems) == 2
    assert sum("count from the current folder unless they begin with ./" in p for p in truth.problems) == 1


def test_images_without_label_file_are_named(small):
    os.rename(small / "labels", small / "lables")
    (small / "d.yaml").write_text("train: images/a\nval: images\nnames: [cat, dog]\n")
    assert "2 of 2 images have no label file, for example '" in read_truth(small / "d.yaml").problems[0]
    (small / "labels/b").mkdir(parents=True)
    (small / "labels/b/0.txt").write_text("")
    assert "1 of 2 images have no label file" in read_truth(small / "d.yaml").problems[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("train: images/a\nval: images/none\nnames: [cat]\n", "missing path"),
        ("train: images/a\nval: images/a\nnames: {0: cat, 2: dog}\n", "class indices"),
        ("train: images/a\nval: images/a\nnames: {-1: cat, 0: dog}\n", "expected the indices 0 to 1"),
        ("train: images/a\nval: images/a\nnames: 3\n", "must be list or dict"),
        ("train: images/a\nval: images/a\n", "names"),
        ("train: images/a\nval:\nnames: [cat]\n", "has no 'val' entry"),
        ("train: images/a\nval: labels/a\nnames: [cat]\n", "No images found"),
        ("- a\n- b\n", "is no dataset YAML"),
        ("{" * 3000, "is no dataset YAML"),
        ("a: &a [x, x]\nb: *c\n", "is no dataset YAML"),
        ("", "is no dataset YAML"),
        (b"\xff\xfe\x00\x01", "is no dataset YAML"),
        (b"PK\x05\x06" + bytes(18), "is an archive"),
        (
            "train: images/a\nval: images/a\nnames: [cat]\n",
            "no image of 'val' can be used; the first is 0.jpg: Label class 1",
        ),
    ],
)
def test_yamls_that_cannot_be_used_are_refused_with_the_reason(small, content, words):
    (small / "d.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError) as caught:
        read_truth(small / "d.yaml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_left_out_images_end_with_exit_code_1(small, tmp_path, capsys):
    from casc_det.graph.zoo import find

    put_label(small, "images/a/0.jpg", "1 32 24 16 24")
    (small / "d.yaml").write_text("train: images/a\nval: images\nnames: [cat, dog]\n")
    words = ["val", f"data={small}/d.yaml", f"weights={find('yolov8n-cq8')}", "timesteps=1", "imgsz=32", "bootstrap=0"]
    assert main([*words, f"project={tmp_path}", "name=a"]) == 1
    error = capsys.readouterr().err
    assert "0.jpg: non-normalized or out of bounds coordinates" in error and "1 files could not be used" in error
    assert exit_code({"damaged": 1}, strict=False) == 0


def test_images_for_distillation_follow_links_too(corpus):
    assert str(corpus / "images/val/linked/0.jpg") in list_images(str(corpus / "images/val"))
