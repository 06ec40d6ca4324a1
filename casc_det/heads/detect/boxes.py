"""Boxes, (N, 4) xyxy: areas, overlaps, and class-wise greedy NMS, exact and without a time limit."""

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every pair, (N, M), in the dtype of the boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clip(min=0).prod(2)
    with np.errstate(invalid="ignore"):  # boxes without end
        union = areas(boxes)[:, None] + areas(others)[None, :] - both
        return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


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
        alive[rest] &= ~(overlaps(grouped[at : at + 1], grouped[rest])[0] > iou)
    return np.array(keep, dtype=np.int64)
