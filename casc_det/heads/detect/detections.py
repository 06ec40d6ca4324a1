"""The one form of detections inside casc_det; `yolo.results` makes Ultralytics' `Results` of them at the border."""

from dataclasses import dataclass

import numpy as np

from casc_det.heads.detect.same import unchanged


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

    def unchanged(self, before: "Detections") -> bool:
        """See `heads.detect.same.unchanged`."""
        return unchanged(before, self)

    def certain(self, score: float) -> bool:
        """Whether there are detections, all of at least this score."""
        return len(self) > 0 and float(self.scores.min()) >= score
