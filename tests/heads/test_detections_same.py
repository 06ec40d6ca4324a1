"""Same answers: to the last digits and in order, or for the eye and in any order."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from conftest import small_graph
from hypothesis import given
from hypothesis import strategies as st

from casc_det.conversion.spiking import convert_graph
from casc_det.graph.ops.readout import KINDS
from casc_det.heads import head_of
from casc_det.heads.detect.boxes import overlaps
from casc_det.heads.detect.decode import DetectHead
from casc_det.heads.detect.detections import Detections, common, difference, same_boxes

TWO = Detections(np.array([[0.0, 0, 10, 10], [20, 20, 40, 40]]), np.array([0.9, 0.6]), np.array([1, 2]))
NONE = Detections.of_table(np.zeros((0, 6)))


def test_difference_is_the_largest_of_corners_and_of_scores():
    other = replace(TWO, boxes=TWO.boxes + np.array([0, 0, 0.25, -0.5]), scores=TWO.scores - 0.125)
    assert difference(TWO, other) == (0.5, pytest.approx(0.125)) and difference(NONE, NONE) == (0.0, 0.0)
    assert difference(TWO, NONE) is None and difference(TWO, replace(TWO, labels=np.array([2, 2]))) is None
    assert difference(TWO, replace(TWO, labels=np.array([2, 1]))) == (30, pytest.approx(0.3))


@given(st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_difference_does_not_depend_on_the_order(count, seed):
    random = np.random.default_rng(seed)
    found = Detections(random.random((count, 4)), random.random(count), random.integers(0, 3, count))
    found.boxes[:] += np.arange(count)[:, None] * 10
    moved = replace(found, boxes=found.boxes + 0.5, scores=found.scores + 0.25)
    expected = (pytest.approx(0.5), pytest.approx(0.25)) if count else (0, 0)
    assert difference(found, moved) == difference(found, moved[random.permutation(count)]) == expected


def test_same_boxes_are_in_the_same_order_within_a_hundredth_of_a_pixel():
    assert same_boxes(TWO, replace(TWO, boxes=TWO.boxes + 0.009)) and same_boxes(NONE, NONE)
    assert not same_boxes(TWO, replace(TWO, boxes=TWO.boxes + 0.011))
    assert not same_boxes(TWO, replace(TWO, scores=TWO.scores + 2e-4))
    turned = TWO[np.array([1, 0])]
    assert not same_boxes(TWO, turned) and turned.unchanged(TWO)


def test_detections_come_back_from_records_and_tables():
    for found in (TWO, NONE):
        for again in (Detections.of_record(found.record()), Detections.of_table(found.table())):
            assert same_boxes(found, again) and again.boxes.shape == (len(found), 4) and again.labels.dtype == np.int64


def test_overlaps_of_boxes_without_extent_are_0():
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 1, 1], [1, 0, 3, 2]])
    assert overlaps(boxes, boxes).tolist() == [[1, 0, 1 / 3], [0, 0, 0], [1 / 3, 0, 1]]


def test_a_graph_that_is_read_out_in_boxes_and_scores_has_the_head_of_detectors():
    graph = convert_graph(small_graph())[0]
    assert graph.task == "detect" and head_of(graph) == DetectHead(graph.strides, graph.reg_max)


def test_fields_are_those_of_results_where_they_are_shown():
    found = Detections(np.array([[0.0, 1, 2, 3]]), np.array([0.5]), np.array([7]))
    fields = found.fields(lambda boxes: 2 * boxes)
    assert {name: values.tolist() for name, values in fields.items()} == {"boxes": [[0, 2, 4, 6, 0.5, 7]]}
    assert found.boxes.tolist() == [[0, 1, 2, 3]]


def test_each_task_that_readouts_know_has_a_head_of_its_name():
    for task in {kind.task for kind in KINDS.values()}:
        assert callable(import_module(f"casc_det.heads.{task}").head)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10_000))
def test_common_boxes_are_those_of_a_plain_loop(first, second, seed):
    """The pair with the largest overlap first, of one class each."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 4, (2, 6, 2))
    corners = np.concatenate((low, low + rng.uniform(8, 12, (2, 6, 2))), 2)
    labels = rng.integers(0, 2, (2, 6))
    one, other = (Detections(corners[k, :n], np.ones(n), labels[k, :n]) for k, n in ((0, first), (1, second)))
    pairs = [
        (overlaps(one.boxes[i : i + 1], other.boxes[j : j + 1]).item(), i, j)
        for i in range(first)
        for j in range(second)
        if one.labels[i] == other.labels[j]
    ]
    taken: list[tuple[int, int]] = []
    for overlap, i, j in sorted(pairs, reverse=True):
        if overlap >= 0.5 and not any(i == a or j == b for a, b in taken):
            taken.append((i, j))
    assert common(one, other, 0.5) == len(taken) == common(other, one, 0.5)
