import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casc_det.heads.detect.boxes import nms


def plain_iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def plain_nms(boxes, scores, labels, iou, max_det=None) -> list[int]:
    """Every box against every kept box, in plain Python."""
    boxes, scores, labels = (values.tolist() for values in (boxes, scores, labels))
    keep = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(labels[i] != labels[k] or plain_iou(boxes[i], boxes[k]) <= iou for k in keep):
            keep.append(i)
    return keep[:max_det]


def random_boxes(count, classes, seed=0, extent=100, side=30):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, extent, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(1, side, (count, 2))], 1)
    return boxes, random.uniform(0, 1, count), random.integers(0, classes, count)


@st.composite
def scenes(draw):
    """Few corners, scores and classes: many ties, equal boxes, and boxes without extent."""
    corner, extent = st.integers(0, 6), st.integers(0, 5)
    rows = draw(st.lists(st.tuples(corner, corner, extent, extent, st.integers(1, 4), st.integers(0, 2)), max_size=20))
    values = np.array(rows, dtype=float).reshape(-1, 6)
    boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], 1)
    return boxes, values[:, 4] / 4, values[:, 5].astype(int)


@given(scenes(), st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]), st.sampled_from([None, 1, 3, 100]))
def test_nms_equals_plain_loop_with_ties(scene, iou, max_det):
    assert nms(*scene, iou, max_det).tolist() == plain_nms(*scene, iou, max_det)


@pytest.mark.parametrize("iou", [0.3, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_nms_equals_plain_loop_on_random_boxes(iou, seed):
    scene = random_boxes(300, 4, seed, extent=30)
    keep = nms(*scene, iou)
    assert keep.tolist() == plain_nms(*scene, iou)
    assert 10 < len(keep) < 300


def test_nms_of_tens_of_thousands_of_boxes_equals_plain_loop_class_by_class():
    boxes, scores, labels = scene = random_boxes(30_000, 100, side=60)
    keep = nms(*scene, 0.5)
    assert np.all(np.diff(scores[keep]) <= 0)
    for label in (0, 50, 99):
        own = np.flatnonzero(labels == label)
        expected = own[plain_nms(boxes[own], scores[own], labels[own], 0.5)]
        assert keep[labels[keep] == label].tolist() == expected.tolist()
    assert nms(*scene, 0.5, 300).tolist() == keep[:300].tolist()


def test_classes_never_suppress_each_other():
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (5, 1))
    scores = np.linspace(0.9, 0.5, 5)
    assert nms(boxes, scores, np.arange(5), 0.0).tolist() == [0, 1, 2, 3, 4]
    assert nms(boxes, scores, np.zeros(5, int), 0.0).tolist() == [0]


def test_classes_do_not_depend_on_coordinates():
    """Shifting boxes apart by class, the usual trick, loses small boxes far from the origin in float32."""
    boxes = np.array([[0, 0, 1, 1], [0.5, 0, 1.5, 1]], dtype=np.float32)
    keep = nms(boxes, np.array([0.9, 0.8], np.float32), np.array([10**9, 10**9]), 0.5)
    assert keep.tolist() == [0, 1]


def test_overlap_of_exactly_iou_is_kept():
    boxes = np.array([[0.0, 0, 2, 1], [0.0, 0, 1, 1]])
    assert nms(boxes, np.array([0.9, 0.8]), np.zeros(2, int), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([0.9, 0.8]), np.zeros(2, int), 0.49).tolist() == [0]


def test_ties_keep_the_lower_index():
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (4, 1))
    assert nms(boxes, np.ones(4), np.array([1, 0, 1, 0]), 0.5).tolist() == [0, 1]


def test_boxes_without_extent_suppress_nothing():
    boxes = np.array([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]])
    assert nms(boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, int), 0.0).tolist() == [0, 1, 2]


def test_empty_input_keeps_nothing():
    keep = nms(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5, 10)
    assert keep.shape == (0,) and keep.dtype == np.int64
