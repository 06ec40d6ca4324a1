"""Class-wise greedy non-maximum suppression, exact and without a time limit.

A box is dropped when a box of the same class with a higher score overlaps it with IoU > `iou`. Classes are
compared as such, not by shifting boxes apart, so no coordinate loses precision. Boxes of a class lie together,
so one kept box costs one vector operation over its own class; the loop ends with the `max_det`-th kept box.
"""

import numpy as np


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every pair, (N, M), of xyxy boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clip(min=0).prod(2)
    area = lambda b: (b[:, 2:] - b[:, :2]).prod(1)
    union = area(boxes)[:, None] + area(others)[None, :] - both
    return np.divide(both, union, out=np.zeros_like(both, dtype=np.float64), where=union > 0)


def nms(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float, max_det: int | None = None
) -> np.ndarray:
    """Indices of the boxes to keep, by falling score (ties: by index).

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        labels: (N,) integers.
        iou: boxes of one class that overlap a better one by more than this are dropped, 0..1.
        max_det: stop after so many boxes; None keeps all.
    """
    best_first = np.argsort(-scores, kind="stable")
    by_class = best_first[np.argsort(labels[best_first], kind="stable")]  # grouped by class, best first in each
    place = np.empty(len(boxes), dtype=np.int64)
    place[by_class] = np.arange(len(boxes))
    grouped, grouped_labels = boxes[by_class], labels[by_class]
    areas = _areas(grouped)
    ends = np.searchsorted(grouped_labels, grouped_labels, side="right")
    alive = np.ones(len(boxes), dtype=bool)
    keep = []
    for index in best_first:
        at = place[index]
        if not alive[at]:
            continue
        keep.append(index)
        if len(keep) == max_det:
            break
        rest = slice(at + 1, ends[at])
        size = np.minimum(grouped[at, 2:], grouped[rest, 2:]) - np.maximum(grouped[at, :2], grouped[rest, :2])
        overlap = size.clip(min=0).prod(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # boxes without extent: 0/0 is no overlap
            alive[rest] &= ~(overlap / (areas[at] + areas[rest] - overlap) > iou)
    return np.array(keep, dtype=np.int64)
