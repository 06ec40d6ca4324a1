"""The one form of detections inside casc_det, and when two answers are the same.

`yolo.results` makes Ultralytics' `Results` of them at the border.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from casc_det.heads.detect.boxes import overlaps

SAME_PIXELS, SAME_SCORE = 1e-2, 1e-4  # what boxes may differ by and still be called the ANN's
UNCHANGED_IOU, UNCHANGED_SCORE = 0.95, 0.02


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image.

    Attributes:
        boxes: (N, 4) float64, xyxy in pixels. scores: (N,) float64, falling as a head gives them. labels: (N,) int64.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray) -> "Detections":
        """Those of a mask or of indices, (N,)."""
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen])

    def record(self) -> dict[str, list]:
        """As JSON values, `{"boxes", "scores", "labels"}`."""
        return {name: values.tolist() for name, values in vars(self).items()}

    def table(self) -> np.ndarray:
        """All in one array, (N, 6) float64: box, score, label."""
        return np.concatenate((self.boxes, self.scores[:, None], self.labels[:, None]), 1, dtype=np.float64)

    @classmethod
    def of_table(cls, table: np.ndarray) -> "Detections":
        """The detections that `table` was made of."""
        return cls(table[:, :4].astype(np.float64), table[:, 4].astype(np.float64), table[:, 5].astype(np.int64))

    @classmethod
    def of_record(cls, record: dict[str, list]) -> "Detections":
        """The detections that `record` was made of."""
        boxes = np.array(record["boxes"], dtype=np.float64).reshape(-1, 4)
        labels = np.array(record["labels"], dtype=np.int64)
        return cls(boxes, np.array(record["scores"], dtype=np.float64), labels)

    def fields(self, place: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        """See `heads.Answer`."""
        return {"boxes": self.placed(place).table()}

    def placed(self, place: Callable[[np.ndarray], np.ndarray]) -> "Detections":
        """The same with other boxes: `place` of them, (N, 4) each."""
        return replace(self, boxes=place(self.boxes))

    def unchanged(self, before: "Detections") -> bool:
        """Whether both show the same objects in any order: same classes, IoU above 0.95, scores within 0.02."""
        if sorted(before.labels.tolist()) != sorted(self.labels.tolist()):
            return False
        free = list(range(len(self)))
        overlap = overlaps(before.boxes, self.boxes)
        for i, label in enumerate(before.labels):
            near = [j for j in free if self.labels[j] == label and overlap[i, j] > UNCHANGED_IOU]
            near = [j for j in near if abs(self.scores[j] - before.scores[i]) <= UNCHANGED_SCORE]
            if not near:
                return False
            free.remove(max(near, key=lambda j: overlap[i, j]))
        return True

    def certain(self, score: float) -> bool:
        """Whether there are detections, all of at least this score."""
        return len(self) > 0 and float(self.scores.min()) >= score


def common(first: Detections, second: Detections, iou: float) -> int:
    """How many boxes both show: pairs of one class that overlap by at least `iou`, each box in one pair at most."""
    overlap = overlaps(first.boxes, second.boxes) * (first.labels[:, None] == second.labels)
    pairs = 0
    while overlap.max(initial=0.0) >= iou:
        one, other = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[one], overlap[:, other] = 0, 0
        pairs += 1
    return pairs


def difference(first: Detections, second: Detections) -> tuple[float, float] | None:
    """The largest absolute difference of corners (pixels) and of scores, None where number or classes differ.

    The order does not matter: boxes of one class are paired, the nearest ones first.
    """
    if sorted(first.labels.tolist()) != sorted(second.labels.tolist()):
        return None
    far = np.abs(first.boxes[:, None] - second.boxes).max(2)
    far[first.labels[:, None] != second.labels] = np.inf
    order = np.zeros(len(first), np.int64)
    for _ in order:
        one, other = np.unravel_index(far.argmin(), far.shape)
        order[one] = other
        far[one], far[:, other] = np.inf, np.inf
    return _gaps(first, second[order])


def same_boxes(first: Detections, second: Detections) -> bool:
    """Whether both are the same detections in the same order, within `SAME_PIXELS` and `SAME_SCORE`."""
    if not np.array_equal(first.labels, second.labels):
        return False
    corners, scores = _gaps(first, second)
    return corners <= SAME_PIXELS and scores <= SAME_SCORE


def _gaps(first: Detections, second: Detections) -> tuple[float, float]:
    """The largest absolute differences of corners and of scores, row by row."""
    corners, scores = np.abs(first.boxes - second.boxes), np.abs(first.scores - second.scores)
    return float(corners.max(initial=0.0)), float(scores.max(initial=0.0))
