"""Class-wise greedy non-maximum suppression, exact and without a time limit.

A box is dropped when a box of the same class with a higher score overlaps it with IoU > `iou`. Classes are
compared as such, not by shifting boxes apart, so no coordinate loses precision. Boxes of a class lie together,
so one kept box costs one vector operation over its own class; the loop ends with the `max_det`-th kept box.
"""

import numpy as np

from casc_det.heads.detect.boxes import overlaps


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
