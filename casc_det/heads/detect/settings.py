"""Which boxes are detections, and of which classes.

The defaults are those of `predict`, of the command line and of all that is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from casc_det.base.arguments import check_counts, is_integer, is_number, shown
from casc_det.errors import ArgumentError, nearest


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
            if not is_number(value, 0, 1):
                raise ArgumentError(f"{name}: expected a number from 0 to 1, got {shown(value)}")
        check_counts(max_det=self.max_det)


def chosen_labels(classes: Any, names: Sequence[str]) -> tuple[int, ...] | None:
    """The labels of `classes`, one or several labels and class names, or a text of them; None: all.

    Raises:
        ArgumentError: one of them is neither a label nor a name of a model with the classes `names`.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        classes = read_classes(classes, names)
    if not isinstance(classes, int | list | tuple | set | range):
        raise ArgumentError(f"classes: expected labels or class names, got {shown(classes)}")
    given = (classes,) if isinstance(classes, int) else tuple(classes)
    for name in given:
        if isinstance(name, str) and name not in names:
            raise ArgumentError(f"classes: the model has no class '{name}'{nearest(name, names)}")
    return check_classes(tuple(names.index(c) if isinstance(c, str) else c for c in given), len(names))


def read_classes(text: str, names: Sequence[str]) -> list[int | str]:
    """`person,bus` or `[0,2]` as names and labels; a part that is a class name is one, also where it is a number."""
    if text in names:
        return [text]
    parts = [part.strip().strip("'\"") for part in text.strip("[]() ").split(",")]
    if not any(parts):
        raise ArgumentError(f"classes: expected labels or class names, got {shown(text)}")
    return [part if part in names or not part.isdecimal() else int(part) for part in parts if part]


def check_classes(classes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return `classes`, or raise ArgumentError when one is no label of a detector with `count` classes."""
    wrong = [c for c in classes if not is_integer(c, 0, count - 1)]
    if wrong:
        raise ArgumentError(f"classes: expected indices from 0 to {count - 1}, got {shown(wrong[0])}")
    return classes
