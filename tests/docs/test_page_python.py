"""Every Python block in a page runs as it is typed, in a folder with the files that it names and a small network."""

import re

import numpy as np
import pytest
import torch
from conftest import live_yolo
from PIL import Image
from update_tables import ROOT, pages

from casc_det import convert
from casc_det.neurons import NEURONS

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{i}")
    for page in pages()
    for i, block in enumerate(BLOCK.findall(page.read_text()))
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files of the pages; the network there has the name of the default detector."""
    folder = tmp_path_factory.mktemp("place")
    model, _ = live_yolo("yolov8n")
    model.args = {"imgsz": 64}
    torch.save({"model": model, "train_args": {}}, folder / "best.pt")
    (folder / "weights").mkdir()
    convert(model).save(folder / "weights" / "yolov8n-cq16.safetensors")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    image.save(folder / "street.jpg")
    (folder / "images").mkdir()
    image.save(folder / "images" / "one.jpg")
    return folder


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("CASC_DET_WEIGHTS", str(place / "weights"))
    before = dict(NEURONS)
    try:
        exec(compile(block, "page", "exec"), {"__name__": "page"})
    finally:
        NEURONS.clear()
        NEURONS.update(before)


def test_there_are_blocks():
    assert len(BLOCKS) >= 3
