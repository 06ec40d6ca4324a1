"""How sure is a difference of mAP: paired bootstrap over pictures, and AP picture by picture.

The outcome of every detection (hit, false alarm, ignored) does not change when pictures are drawn again, so one draw
only weights the pictures: mAP of a weighted data set from `Outcomes`, without matching anything again.
"""

from dataclasses import dataclass

import numpy as np

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Outcomes:
    """All detections of one class by falling score.

    Attributes:
        outcome: (thresholds, N) of 1 (hit), 0 (false alarm), -1 (ignored).
        picture: (N,) index of each one's picture. positives: (pictures,) objects to be found in each.
    """

    outcome: np.ndarray
    picture: np.ndarray
    positives: np.ndarray


def weighted_ap(classes: list[Outcomes], weights: np.ndarray) -> float:
    """Mean over classes and thresholds of COCO's 101-point AP, each picture counted `weights` times; NaN if empty."""
    values = []
    for c in classes:
        positives = float(weights @ c.positives)
        if not positives:
            continue
        w = weights[c.picture]
        hits = np.cumsum((c.outcome == 1) * w, axis=1)
        shown = np.cumsum((c.outcome >= 0) * w, axis=1)
        precision = hits / np.maximum(shown, np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.concatenate((envelope, np.zeros((len(envelope), 1))), axis=1)
        recall = hits / positives
        at = [np.searchsorted(row, RECALLS, side="left") for row in recall]
        values.append(np.mean([row[i].mean() for row, i in zip(envelope, at, strict=True)]))
    return float(np.mean(values)) if values else float("nan")


def picture_aps(classes: list[Outcomes], pictures: int) -> np.ndarray:
    """AP of each picture alone, (pictures,); NaN where it has no object."""
    parts: list[list[Outcomes]] = [[] for _ in range(pictures)]
    for c in classes:
        for i in np.flatnonzero(c.positives):
            mine = c.picture == i
            parts[i].append(Outcomes(c.outcome[:, mine], np.zeros(mine.sum(), np.int64), c.positives[i : i + 1]))
    return np.array([weighted_ap(part, np.ones(1)) for part in parts])


def bootstrap_gap(rows: dict, reference: str, draws: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % interval of mAP(row) - mAP(reference), by drawing pictures with replacement, the same for all rows.

    Args:
        rows: name -> list of `Outcomes`, one for each class.
        draws: how many times.

    Returns:
        For each row but the reference (2.5 %, 97.5 %) of the differences.
    """
    rng = np.random.default_rng(seed)
    pictures = len(rows[reference][0].positives)
    gaps: dict[str, list[float]] = {name: [] for name in rows if name != reference}
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, pictures, pictures), minlength=pictures).astype(np.float64)
        base = weighted_ap(rows[reference], weights)
        for name, values in gaps.items():
            values.append(weighted_ap(rows[name], weights) - base)
    return {name: tuple(np.nanpercentile(v, (2.5, 97.5)).tolist()) for name, v in gaps.items()}
