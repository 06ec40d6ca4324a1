"""VOC average precision: hand-computed cases, a plain loop, and COCO where the definitions coincide."""

import numpy as np
import pytest

from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.truth import Truth, make_image
from casc_det.evaluation.voc import average_precision, evaluate_voc, match_image
from casc_det.heads.detect.boxes import overlaps
from casc_det.heads.detect.detections import Detections


def image(*rows, key="a"):
    """rows: (x1, y1, x2, y2, label, crowd, difficult)."""
    return make_image(key, f"{key}.jpg", (100, 100), [(*row, None) for row in rows], [])


def found(*rows):
    """rows: (x1, y1, x2, y2, score, label)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections.of_table(table)


BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


def voc12(images, detections):
    return evaluate_voc(images, detections, [0])[0]["voc12"][0]


def test_one_hit_is_1_and_one_miss_is_0():
    assert voc12([image((*BOX, 0, 0, 0))], [found((*BOX, 0.9, 0))]) == 1
    assert voc12([image((*BOX, 0, 0, 0))], [found((*FAR, 0.9, 0))]) == 0
    assert voc12([image((*BOX, 0, 0, 0))], [found()]) == 0


def test_second_detection_of_an_object_is_a_false_alarm():
    images = [image((*BOX, 0, 0, 0), (*FAR, 0, 0, 0))]
    detections = [found((*BOX, 0.9, 0), (0, 0, 10, 9, 0.8, 0), (*FAR, 0.7, 0))]
    assert voc12(images, detections) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_difficult_object_is_neither_hit_nor_miss():
    images = [image((*BOX, 0, 0, 1), (*FAR, 0, 0, 0))]
    assert voc12(images, [found((*BOX, 0.9, 0), (*FAR, 0.8, 0))]) == 1
    assert voc12(images, [found((*FAR, 0.8, 0))]) == 1


def test_detection_belongs_to_the_object_it_overlaps_most():
    objects = image((0, 0, 10, 10, 0, 0, 0), (0, 2, 10, 12, 0, 0, 0))
    boxes = np.array([[0, 0, 10, 10], [0, 0.5, 10, 10.5]], dtype=np.float64)
    assert match_image(objects, 0, boxes)[0].tolist() == [1, 0]  # the second prefers the first object, too


def test_overlap_equal_to_the_threshold_is_a_hit():
    assert match_image(image((0, 0, 10, 10, 0, 0, 0)), 0, np.array([[0, 0, 10, 5.0]]))[0].tolist() == [1]


def test_eleven_points_by_hand():
    # recalls 1/3, 1/3, 2/3 with precisions 1, 1/2, 2/3: levels 0..0.3 see 1, 0.4..0.6 see 2/3, 0.7..1 see 0
    assert average_precision(np.array([1, 0, 1]), 3, 11) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert average_precision(np.array([1, 0, 1]), 3) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_class_without_objects_has_no_ap():
    assert np.isnan(voc12([image()], [found((*BOX, 0.9, 0))]))


def plain_ap(images, detections, threshold):
    """VOC12 AP of class 0 as a plain loop."""
    ranked = sorted(
        ((s, i, b) for i, one in enumerate(detections) for b, s in zip(one.boxes, one.scores, strict=True)),
        key=lambda entry: -entry[0],
    )
    taken, curve, hits = set(), [], 0
    positives = sum(len(p.boxes) for p in images)
    for rank, (_, i, box) in enumerate(ranked, 1):
        ious = overlaps(box[None], images[i].boxes)[0] if len(images[i].boxes) else np.zeros(0)
        if len(ious) and ious.max() >= threshold and (i, int(ious.argmax())) not in taken:
            taken.add((i, int(ious.argmax())))
            hits += 1
        curve.append((hits / positives, hits / rank))
    area, last = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[k:])
        last = recall
    return area


def random_set(seed, separate):
    """Pictures of class 0 and detections with distinct scores; `separate` objects never overlap each other."""
    rng = np.random.default_rng(seed)
    images, detections = [], []
    for i in range(12):
        corners = rng.uniform(0, 20, (rng.integers(0, 4), 2))
        boxes = [(x + 30 * separate * k, y, x + 30 * separate * k + 12, y + 12) for k, (x, y) in enumerate(corners)]
        images.append(image(*((*b, 0, 0, 0) for b in boxes), key=f"p{i}"))
        shifted = [tuple(np.array(b) + rng.normal(0, 2, 4)) for b in boxes for _ in range(2)]
        noise = [(x, y, x + 8, y + 8) for x, y in rng.uniform(0, 90, (2, 2))]
        detections.append(found(*((*b, rng.uniform(), 0) for b in [*shifted, *noise])))
    return images, detections


@pytest.mark.parametrize("seed", range(5))
def test_ap_equals_a_plain_loop(seed):
    images, detections = random_set(seed, separate=False)
    assert voc12(images, detections) == pytest.approx(plain_ap(images, detections, 0.5), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_equal_pycocotools_where_objects_do_not_overlap(seed):
    images, detections = random_set(seed, separate=True)
    truth = Truth("voc", "x", ["thing"], [1], images)
    _, mine = evaluate_voc(images, detections, [0])
    _, _, theirs = evaluate_coco(truth, to_results(truth, detections), [0])
    assert mine[0].outcome[0].tolist() == theirs[0].outcome[0].tolist()
    assert mine[0].positives.tolist() == theirs[0].positives.tolist()
