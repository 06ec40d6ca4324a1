"""Match the classes of a model and of a data set by name."""

from dataclasses import dataclass

import numpy as np

from casc_det.errors import ArgumentError

ALIASES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}  # VOC name: COCO name


@dataclass(frozen=True)
class ClassMap:
    """Attributes:
    label_of: (classes of the model,) the data set's label for each class of the model, -1 for none.
    missing: classes of the data set that the model does not know; they are not scored.
    unused: classes of the model that the data set does not have; their detections are left out.
    """

    label_of: np.ndarray
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def match_classes(model: list[str], truth: list[str], given: dict[str, str] | None = None) -> ClassMap:
    """Match by name, regardless of case, through `ALIASES` in both directions, and through `given`.

    Args:
        given: data set name -> model name, first in rank.

    Raises:
        ArgumentError: `given` names a class that is not there, or no class is common to both.
    """
    labels = {_key(name): label for label, name in enumerate(model)}
    given = {_key(key): value for key, value in (given or {}).items()}
    for name, target in given.items():
        if name not in {_key(t) for t in truth} or _key(target) not in labels:
            raise ArgumentError(f"names: the mapping '{name}={target}' names a class that model or data set lacks")
    both = {**{_key(a): _key(b) for a, b in ALIASES.items()}, **{_key(b): _key(a) for a, b in ALIASES.items()}}
    label_of, missing = np.full(len(model), -1, dtype=np.int64), []
    for label, name in enumerate(truth):
        key = _key(name)
        found = labels.get(_key(given[key])) if key in given else labels.get(key, labels.get(both.get(key)))
        if found is None:
            missing.append(name)
        else:
            label_of[found] = label
    if (label_of < 0).all():
        raise ArgumentError(
            f"data: the data set has no class in common with the model ({_few(truth)} against {_few(model)}); give "
            "weights= of a model trained for it, or map=<data set name>:<model name>,... where only the names differ"
        )
    unused = tuple(name for name, label in zip(model, label_of, strict=True) if label < 0)
    return ClassMap(label_of, tuple(missing), unused)


def mapped(record: dict, classes: ClassMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, scores, labels) of one row of a picture in the labels of the data set."""
    labels = classes.label_of[np.array(record["labels"], dtype=np.int64)]
    kept = labels >= 0
    boxes = np.array(record["boxes"], dtype=np.float64).reshape(-1, 4)
    return boxes[kept], np.array(record["scores"], dtype=np.float64)[kept], labels[kept]


def _few(names) -> str:
    return ", ".join(names[:5]) + (f", ... {len(names)} in all" if len(names) > 5 else "")
