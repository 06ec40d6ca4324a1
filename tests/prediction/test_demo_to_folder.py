"""The demo: one board, and how far the boxes at the last step are from the ANN's."""

import json

import numpy as np
import pytest
from conftest import live_yolo
from PIL import Image

from casc_det import SpikingYOLO, convert
from casc_det.prediction.demo import box_difference, demo_to_folder, verdict


@pytest.fixture(scope="module")
def model():
    return SpikingYOLO(convert(live_yolo("yolov8n")[0], imgsz=64))


@pytest.mark.parametrize(("timesteps", "panels"), [("auto", 6), (2, 2), (4, 3)])
def test_board_has_the_ann_the_chosen_steps_and_the_last_one(model, tmp_path, timesteps, panels):
    image, seen = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8), []
    report = demo_to_folder(model, image, tmp_path, seen.append, timesteps, conf=0.0)
    assert len(seen) == len(report.steps) and report.steps[-1]["spiking"]["timesteps"] == len(seen)
    assert (report.difference == 0) if timesteps == "auto" else report.difference != 0
    rows = -(-panels // 3)  # Q = 4: T = 2, 4, 5, 6 and the last one
    with Image.open(report.image) as board:
        assert board.size == (3 * 332 + 12, rows * (38 + 213 + 30) + 12 * (rows + 1))
    content = json.loads((tmp_path / "demo.json").read_text())
    assert content["steps"] == report.steps and content["ann"] == report.ann


def test_box_difference_is_of_the_same_objects_only():
    box = {"class": 1, "box": [0.0, 0.0, 4.0, 4.0], "confidence": 0.5}
    first = {"boxes": [box]}
    assert box_difference(first, {"boxes": [{**box, "confidence": 0.75}]}) == 0.25
    assert box_difference(first, {"boxes": [{**box, "class": 2}]}) is None
    assert box_difference(first, {"boxes": []}) is None and box_difference({"boxes": []}, {"boxes": []}) == 0
    assert verdict(0.25) == "the ANN's objects, off by up to 0.25" and verdict(None) == "not the ANN's objects"
