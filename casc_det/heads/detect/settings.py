"""Which boxes are detections. Its defaults are those of `predict`, of the command line and of all that is drawn."""

from dataclasses import dataclass

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError


@dataclass(frozen=True)
class DetectionSettings:
    """conf: a box needs a larger score than this, 0..1. iou: NMS threshold, 0..1. max_det: most boxes an image.

    classes: labels to keep, None for all. multi_label: a cell may give several classes (for mAP), else its best.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: tuple[int, ...] | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ArgumentError(f"{name}: expected a number from 0 to 1, got {shown(value)}")
        if isinstance(self.max_det, bool) or not isinstance(self.max_det, int) or self.max_det < 1:
            raise ArgumentError(f"max_det: expected a whole number above 0, got {shown(self.max_det)}")
