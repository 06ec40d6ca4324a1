"""AP of weighted data sets is that of repeated images; intervals of differences."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from casc_det.evaluation.bootstrap import Outcomes, bootstrap_gap, image_aps, weighted_ap
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.truth import Truth, make_image
from casc_det.heads.detect.detections import Detections


def random_truth(seed=0, images=15):
    rng = np.random.default_rng(seed)
    made, found = [], []
    for i in range(images):
        corners = rng.uniform(0, 50, (rng.integers(0, 5), 2))
        rows = [(x, y, x + 30, y + 30, rng.integers(0, 3), rng.uniform() < 0.1, False, None) for x, y in corners]
        made.append(make_image(i, f"{i}.jpg", (100, 100), rows, []))
        boxes = np.array([np.array(r[:4]) + rng.normal(0, 3, 4) for r in rows for _ in range(2)]).reshape(-1, 4)
        labels = np.array([r[4] if rng.uniform() < 0.8 else 0 for r in rows for _ in range(2)], dtype=np.int64)
        found.append(Detections(boxes, rng.uniform(size=len(boxes)), labels))
    return Truth("coco", "random", ["a", "b", "c"], [1, 2, 3], made), found


@pytest.mark.parametrize("seed", range(4))
def test_map_of_the_whole_set_equals_pycocotools(seed):
    truth, found = random_truth(seed)
    numbers, by_class, outcomes = evaluate_coco(truth, to_results(truth, found), [0, 1, 2])
    assert weighted_ap(outcomes, np.ones((1, len(truth.images))))[0] == pytest.approx(numbers["mAP50-95"], abs=1e-12)
    assert np.nanmean(list(by_class.values())) == pytest.approx(numbers["mAP50-95"], abs=1e-12)


def test_weighted_map_equals_repeated_images():
    truth, found = random_truth(1, images=6)
    _, _, outcomes = evaluate_coco(truth, to_results(truth, found), [0, 1, 2])
    order = [0, 0, 2, 3, 3, 3]
    repeated = Truth("coco", "again", truth.names, truth.category_ids, [])
    repeated.images = [make_copy(truth.images[i], key) for key, i in enumerate(order)]
    numbers, _, _ = evaluate_coco(repeated, to_results(repeated, [found[i] for i in order]), [0, 1, 2])
    assert weighted_ap(outcomes, np.bincount(order, minlength=6).astype(float)[None])[0] == pytest.approx(
        numbers["mAP50-95"]
    )


def make_copy(image, key):
    return replace(image, key=key)


def test_bootstrap_of_equal_rows_is_zero_and_brackets_a_real_gap():
    truth, found = random_truth(2)
    worse = [replace(one, boxes=one.boxes + 4) for one in found]
    rows = {
        name: evaluate_coco(truth, to_results(truth, f), [0, 1, 2])[2]
        for name, f in (("ann", found), ("same", found), ("worse", worse))
    }
    gaps = bootstrap_gap(rows, "ann", 50)
    assert gaps["same"] == (0, 0) and gaps["worse"][0] < gaps["worse"][1] < 0
    assert image_aps(rows["ann"]).shape == (15,)


def test_intervals_without_detections_and_objects_take_little_memory():
    nothing = [Outcomes(np.zeros((10, 0), np.int8), np.zeros(0, np.int64), np.zeros(200_000, np.int64))]
    tracemalloc.start()
    gaps = bootstrap_gap({"ann": nothing, "snn": list(nothing)}, "ann", 60)
    assert np.isnan(gaps["snn"]).all() and tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()
