"""COCO scores against bare pycocotools: ids of every kind and order, ties of scores, sets without objects."""

import contextlib
import io
import json
import math
import random

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casc_det.evaluation.bootstrap import image_aps
from casc_det.evaluation.coco import CocoCurve, evaluate_coco, to_results
from casc_det.evaluation.truth import Truth, make_image
from casc_det.heads.detect.detections import Detections

NAMES = ["a", "b", "c", "d"]  # "d" has no object
IMAGES, CLASSES = 12, range(4)


def rows_and_detections(seed=0):
    """For each image: rows of objects as `make_image` takes them, and detections with many equal scores."""
    rng = np.random.default_rng(seed)
    rows, found = [], []
    for _ in range(IMAGES):
        corners = rng.uniform(0, 300, (rng.integers(0, 5), 2))
        size = rng.choice([10, 50, 150])
        objects = [(x, y, x + size, y + size, rng.integers(0, 3), rng.uniform() < 0.1, False, None) for x, y in corners]
        boxes = np.array([np.array(o[:4]) + rng.normal(0, 3, 4) for o in objects for _ in range(3)]).reshape(-1, 4)
        labels = np.array([o[4] if rng.uniform() < 0.8 else 0 for o in objects for _ in range(3)], dtype=np.int64)
        rows.append(objects)
        found.append(Detections(boxes, rng.integers(1, 9, len(boxes)) / 10, labels))
    return rows, found


def bare(image_ids, category_ids, rows, found):
    """The 12 numbers and AP by class with nothing but pycocotools; ids as given (integers only)."""
    truth, results = {"images": [{"id": i} for i in image_ids], "annotations": [], "info": {}}, []
    truth["categories"] = [{"id": i, "name": name} for i, name in zip(category_ids, NAMES, strict=True)]
    for image, objects, one in zip(image_ids, rows, found, strict=True):
        for x1, y1, x2, y2, label, crowd, _, _ in objects:
            entry = {"id": len(truth["annotations"]) + 1, "image_id": image, "category_id": category_ids[label]}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd)}
            truth["annotations"].append(entry)
        for (x1, y1, x2, y2), score, label in zip(one.boxes, one.scores, one.labels, strict=True):
            entry = {"image_id": image, "category_id": category_ids[label], "score": score}
            results.append(entry | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = truth
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(results), "bbox")
        for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
            step()
    by_class = {}
    for k, category in enumerate(evaluation.params.catIds):
        values = evaluation.eval["precision"][:, :, k, 0, -1]
        by_class[NAMES[category_ids.index(category)]] = values.mean() if values.max() > -1 else math.nan
    return evaluation.stats, by_class


def shuffled(values, seed=3):
    values = list(values)
    random.Random(seed).shuffle(values)
    return values


IDS = {
    "in order": (list(range(1, 13)), [1, 2, 3, 4]),
    "reversed": (list(range(12, 0, -1)), [90, 17, 3, 1]),
    "shuffled with 0": (shuffled(range(12)), [0, 7, 2, 5]),
    "negative": (shuffled(range(-6, 6)), [-1, 0, -7, 3]),
    "huge": (shuffled(2**61 + 7 * i for i in range(12)), [2**53 + 1, 2**53, 5, 4]),
    "beyond 64 bits": (shuffled(10**30 + i for i in range(12)), [10**40, 10**39, 1, 2]),
    "texts": (shuffled(f"img {i}" for i in range(12)), ["x", "b", "a", "c"]),
    "mixed": ([f"{i}" if i % 2 else i for i in range(12)], ["x", 3, 1, "0"]),
}


@pytest.mark.parametrize("kind", IDS)
def test_scores_are_those_of_bare_pycocotools_whatever_the_ids(kind):
    image_ids, category_ids = IDS[kind]
    rows, found = rows_and_detections()
    images = [
        make_image(k, f"{i}.jpg", (500, 500), r, []) for i, (k, r) in enumerate(zip(image_ids, rows, strict=True))
    ]
    truth = Truth("coco", "t", NAMES, category_ids, images)
    results = to_results(truth, found)
    numbers, by_class, outcomes = evaluate_coco(truth, results, list(CLASSES))
    plain = kind in ("texts", "mixed", "beyond 64 bits")  # pycocotools refuses these; the order of texts is theirs too
    order = sorted(range(IMAGES), key=image_ids.__getitem__) if kind != "mixed" else range(IMAGES)
    own = [order.index(i) + 1 for i in range(IMAGES)]
    stats, expected = bare(own if plain else image_ids, [1, 2, 3, 4] if plain else category_ids, rows, found)
    assert list(numbers.values()) == [pytest.approx(v, abs=1e-12) for v in stats]
    assert by_class == {name: pytest.approx(v, abs=1e-12, nan_ok=True) for name, v in expected.items()}
    assert {r["image_id"] for r in results} <= set(image_ids) and {r["category_id"] for r in results} <= set(
        category_ids
    )
    json.dumps(results)
    curve = CocoCurve(truth, list(CLASSES))
    assert curve(found) == (pytest.approx(stats[0], abs=1e-12), pytest.approx(stats[1], abs=1e-12))
    alone = image_aps(outcomes)  # in the order of the file
    for i, (image, detections) in enumerate(zip(images, found, strict=True)):
        one = Truth("coco", "one", NAMES, category_ids, [image])
        expected = evaluate_coco(one, to_results(one, [detections]), list(CLASSES))[0]["mAP50-95"]
        assert alone[i] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_choice_of_classes_keeps_their_names():
    rows, found = rows_and_detections(1)
    images = [make_image(i, f"{i}.jpg", (500, 500), r, []) for i, r in enumerate(rows)]
    truth = Truth("coco", "t", NAMES, [9, 4, 0, 7], images)
    kept = [one[one.labels != 1] for one in found]
    _, by_class, outcomes = evaluate_coco(truth, to_results(truth, kept), [0, 2])
    _, expected = bare(list(range(12)), [9, 4, 0, 7], rows, found)
    assert by_class == {name: pytest.approx(expected[name], abs=1e-12) for name in ("a", "c")}
    assert [int(o.positives.sum()) for o in outcomes] == [
        sum(r[4] == k and not r[5] for o in rows for r in o) for k in (0, 2)
    ]


def test_other_data_sets_are_numbered_in_order():
    rows, found = rows_and_detections(2)
    images = [make_image(f"{9 - i}.jpg", "x.jpg", (500, 500), r, []) for i, r in enumerate(rows[:9])]
    results = to_results(Truth("yaml", "t", NAMES, [1, 2, 3, 4], images), found[:9])
    assert [r["image_id"] for r in results] == [i for i, f in enumerate(found[:9], 1) for _ in f.scores]


def test_what_has_no_object_is_nan():
    images = [make_image(i, "x.jpg", (100, 100), [], []) for i in range(2)]
    truth = Truth("coco", "t", NAMES, [1, 2, 3, 4], images)
    found = [Detections.of_table(np.array([[0, 0, 9, 9.0, 0.5, 0]]))] * 2
    numbers, by_class, _ = evaluate_coco(truth, to_results(truth, found), list(CLASSES))
    assert all(map(math.isnan, [*numbers.values(), *by_class.values(), *CocoCurve(truth, list(CLASSES))(found)]))
    images[0] = make_image(0, "x.jpg", (100, 100), [(0, 0, 9, 9, 0, False, False, None)], [])
    numbers, _, _ = evaluate_coco(truth, to_results(truth, found), list(CLASSES))
    assert numbers["mAP50-95"] == numbers["mAP small"] == pytest.approx(1)
    assert all(math.isnan(numbers[f"{kind} {size}"]) for kind in ("mAP", "AR") for size in ("medium", "large"))
