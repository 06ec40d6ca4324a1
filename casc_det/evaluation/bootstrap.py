"""How sure is a difference of mAP: paired bootstrap over images, and AP image by image.

The outcome of every detection (hit, false alarm, ignored) does not change when images are drawn again, so one draw
only weights the images: mAP of a weighted data set from `Outcomes`, without matching anything again.
"""

from dataclasses import dataclass

import numpy as np

from casc_det.base.arguments import is_integer
from casc_det.errors import ArgumentError
from casc_det.evaluation.precision import interpolated, mean_at_recalls

BLOCK = 1 << 22  # draws worked on at once: so many values at most for the largest class, or images
LARGEST = 100_000  # draws; an interval of 1000 is known to a few percent of its width


@dataclass(frozen=True)
class Outcomes:
    """All detections of one class by falling score.

    Attributes:
        outcome: (thresholds, N) of 1 (hit), 0 (false alarm), -1 (ignored).
        image: (N,) index of each one's image. positives: (images,) objects to be found in each.
    """

    outcome: np.ndarray
    image: np.ndarray
    positives: np.ndarray


def check_draws(draws: object) -> None:
    """Raise ArgumentError where it is no number of draws."""
    if not is_integer(draws, 0, LARGEST):
        raise ArgumentError(f"bootstrap: expected an integer from 0 (no interval) to {LARGEST}, got {draws!r}")


def weighted_ap(classes: list[Outcomes], weights: np.ndarray) -> np.ndarray:
    """Mean over classes and thresholds of COCO's 101-point AP for each draw.

    Only hits raise the recall, and the interpolated precision has its steps at hits: other places are left out.

    Args:
        weights: (draws, images), how many times each image counts.

    Returns:
        (draws,); NaN where a draw has no object at all.
    """
    total, scored = np.zeros(len(weights)), np.zeros(len(weights))
    for c in classes:
        positives = weights @ c.positives
        drawn = weights[:, c.image]
        shown = np.cumsum(drawn, axis=1)
        some = positives > 0
        scored += some
        for outcome in c.outcome:
            at = np.flatnonzero(outcome == 1)
            if not len(at):
                continue
            hits = np.cumsum(drawn[:, at], axis=1)
            valid = np.cumsum(drawn * (outcome >= 0), axis=1) if (outcome < 0).any() else shown
            recall = hits / np.where(some, positives, 1)[:, None]
            total += some * mean_at_recalls(interpolated(hits, valid[:, at]), recall) / len(c.outcome)
    with np.errstate(invalid="ignore"):
        return total / scored


def image_aps(classes: list[Outcomes]) -> np.ndarray:
    """AP of each image alone, (images,); NaN where it has no object."""
    parts: list[list[Outcomes]] = [[] for _ in classes[0].positives]
    for c in classes:
        for i in np.flatnonzero(c.positives):
            mine = c.image == i
            parts[i].append(Outcomes(c.outcome[:, mine], np.zeros(mine.sum(), np.int64), c.positives[i : i + 1]))
    return np.array([weighted_ap(part, np.ones((1, 1)))[0] for part in parts])


def bootstrap_gap(
    rows: dict[str, list[Outcomes]], reference: str, draws: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % interval of mAP(row) - mAP(reference), by drawing images with replacement, the same for all rows.

    Args:
        rows: name -> outcomes of each class.
        draws: how many times.

    Returns:
        For each row but the reference (2.5 %, 97.5 %) of the differences; NaN where no draw has an object.
    """
    rng = np.random.default_rng(seed)
    images = len(rows[reference][0].positives)
    longest = max([images, *(len(c.image) for classes in rows.values() for c in classes)])
    gaps: dict[str, list[np.ndarray]] = {name: [] for name in rows if name != reference}
    left = draws
    while left:
        block = min(left, max(1, BLOCK // longest))
        drawn = rng.integers(0, images, (block, images))
        weights = np.array([np.bincount(draw, minlength=images) for draw in drawn], dtype=np.float64)
        aps = {id(row): weighted_ap(row, weights) for row in {id(row): row for row in rows.values()}.values()}
        for name, values in gaps.items():
            values.append(aps[id(rows[name])] - aps[id(rows[reference])])
        left -= block
    return {name: _interval(np.concatenate([*values, []])) for name, values in gaps.items()}


def _interval(values: np.ndarray) -> tuple[float, float]:
    """2.5 % and 97.5 % of the values that are numbers; NaN where there are none."""
    known = values[~np.isnan(values)]
    return tuple(np.percentile(known, (2.5, 97.5)).tolist()) if len(known) else (float("nan"),) * 2
