"""Whether two answers are the same: to a number's last digits, or for the eye."""

from typing import TYPE_CHECKING

import numpy as np

from casc_det.heads.detect.boxes import overlaps

if TYPE_CHECKING:
    from casc_det.heads.detect.detections import Detections

SAME_PIXELS, SAME_SCORE = 1e-2, 1e-4  # what boxes may differ by and still be called the ANN's
UNCHANGED_IOU, UNCHANGED_SCORE = 0.95, 0.02


def difference(first: "Detections", second: "Detections") -> tuple[float, float] | None:
    """The largest absolute difference of corners (pixels) and of scores, None where number or classes differ."""
    if not np.array_equal(first.labels, second.labels):
        return None
    corners, scores = np.abs(first.boxes - second.boxes), np.abs(first.scores - second.scores)
    return float(corners.max(initial=0.0)), float(scores.max(initial=0.0))


def same_boxes(first: "Detections", second: "Detections") -> bool:
    """Whether both are the same detections in the same order, within `SAME_PIXELS` and `SAME_SCORE`."""
    gap = difference(first, second)
    return gap is not None and gap[0] <= SAME_PIXELS and gap[1] <= SAME_SCORE


def unchanged(first: "Detections", second: "Detections") -> bool:
    """Whether both show the same objects in any order: same classes, IoU above 0.95, scores within 0.02."""
    if sorted(first.labels.tolist()) != sorted(second.labels.tolist()):
        return False
    free = list(range(len(second)))
    overlap = overlaps(first.boxes, second.boxes)
    for i, label in enumerate(first.labels):
        near = [j for j in free if second.labels[j] == label and overlap[i, j] > UNCHANGED_IOU]
        near = [j for j in near if abs(second.scores[j] - first.scores[i]) <= UNCHANGED_SCORE]
        if not near:
            return False
        free.remove(max(near, key=lambda j: overlap[i, j]))
    return True
