"""Files from strangers: pickles that run a command when they are unpickled, and a small data set."""

import os
from pathlib import Path

import pytest
import torch
from conftest import live_yolo

from casc_det import convert

ACTIVATION = "__import__('os').system('touch {}') or nn.SiLU()"


class Runs:
    """Its pickle calls a function with an argument."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def evil(tmp_path, marker) -> Path:
    """A checkpoint that is whole, and runs a command besides."""
    content = {"model": live_yolo("yolov8n")[0], "train_args": {}, "more": Runs(os.system, f"touch {marker}")}
    torch.save(content, tmp_path / "evil.pt")
    return tmp_path / "evil.pt"


@pytest.fixture(scope="module")
def spiking(tmp_path_factory) -> Path:
    return convert(live_yolo("yolov8n")[0], imgsz=64).save(tmp_path_factory.mktemp("w") / "live.safetensors")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two images with a box each."""
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    file = tmp_path / "data.yaml"
    file.write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames: ['0', '1', '2', '3', '4']\n")
    return file
