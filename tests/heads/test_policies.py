"""Early exit: what each policy asks for, and that `predict` stops where it says."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import live_yolo

from casc_det import SpikingYOLO, convert
from casc_det.errors import ArgumentError
from casc_det.heads.detect.detections import Detections
from casc_det.heads.policies import Policy, read_policy

TWO = Detections(np.array([[0.0, 0, 10, 10], [20, 20, 40, 40]]), np.array([0.9, 0.6]), np.array([1, 2]))
NONE = Detections.of_table(np.zeros((0, 6)))


def moved(found, pixels=0.0, score=0.0):
    return Detections(found.boxes + pixels, found.scores + score, found.labels)


def test_policies_are_read_and_written():
    for text in ("quiescent", "boxes-stable(3)", "confident(0.5)"):
        assert str(read_policy(text)) == text
    assert read_policy("boxes-stable") == Policy("boxes-stable", 3) and read_policy("confident").value == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "never",
        "quiescent(2)",
        "boxes-stable(0)",
        "boxes-stable(1.5)",
        "confident(0)",
        "confident(2)",
        "boxes-stable()",
    ],
)
def test_policies_that_make_no_sense_are_refused(text):
    with pytest.raises(ArgumentError, match="policy: "):
        read_policy(text)


def test_unchanged_boxes_are_the_same_objects_in_any_order():
    turned = TWO[np.array([1, 0])]
    assert TWO.unchanged(TWO) and turned.unchanged(TWO) and NONE.unchanged(NONE)
    assert moved(TWO, 0.1, 0.015).unchanged(TWO) and not moved(TWO, 0, 0.03).unchanged(TWO)
    assert not moved(TWO, 1.0).unchanged(TWO) and not NONE.unchanged(TWO)
    assert not replace(TWO, labels=np.array([1, 3])).unchanged(TWO)


def test_stable_boxes_stop_after_k_steps_but_not_in_wake():
    watch = read_policy("boxes-stable(2)").watch(4)
    stops = [watch.stop(t, TWO, False) for t in range(1, 7)]
    assert stops == [False] * 5 + [True]
    watch = read_policy("boxes-stable(2)").watch(1)
    shown = [NONE, TWO, moved(TWO, 3), moved(TWO, 3), moved(TWO, 3)]
    assert [watch.stop(t, found, False) for t, found in enumerate(shown, 1)] == [False, False, False, False, True]


def test_confident_needs_boxes_and_high_scores():
    watch = read_policy("confident(0.6)").watch(2)
    assert not watch.stop(1, TWO, False) and not watch.stop(2, NONE, False)
    assert not watch.stop(3, moved(TWO, 0, -0.05), False) and watch.stop(4, TWO, False)


@pytest.mark.parametrize("text", ["quiescent", "boxes-stable", "confident"])
def test_rest_stops_every_policy(text):
    assert read_policy(text).watch(100).stop(1, NONE, True)


def test_predict_stops_each_image_by_itself():
    graph = convert(live_yolo("yolov8n")[0], imgsz=64).graph
    model, random = SpikingYOLO(graph), np.random.default_rng(0)
    images = [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    whole = model.predict(images, batch=3)
    early = model.predict(images, batch=3, policy="boxes-stable(1)")
    alone = [model.predict(image, policy="boxes-stable(1)")[0] for image in images]
    for a, b, c in zip(whole, early, alone, strict=True):
        assert b.spiking == c.spiking and b.boxes.data.equal(c.boxes.data)
        assert b.spiking.timesteps <= a.spiking.timesteps and b.spiking.spikes <= a.spiking.spikes
        assert b.spiking.timesteps >= graph.levels
        step = next(r for r in model.anytime(b.orig_img) if r.spiking.timesteps == b.spiking.timesteps)
        assert b.boxes.data.equal(step.boxes.data)
    same = model.predict(images, batch=3, policy="quiescent")
    assert [r.spiking for r in same] == [r.spiking for r in whole]
    with pytest.raises(ArgumentError, match="needs timesteps=auto"):
        model.predict(images, timesteps=8, policy="boxes-stable")
