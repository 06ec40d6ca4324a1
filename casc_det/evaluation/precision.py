"""Interpolated precision: the largest precision at a recall or beyond, from hits by falling score.

With h hits among the best n detections, recall = h / objects and precision = h / n; interpolated, precision falls with
recall in steps that begin at hits (The PASCAL VOC challenge, IJCV 2010, section 4.2; COCO takes it at 101 recalls).
Detections are the last axis, so that draws of the data set, in which images count several times, are rows.
"""

import numpy as np

RECALLS = np.linspace(0, 1, 101)


def interpolated(hits: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Interpolated precision (..., N) from how many hits and detections there are up to each place, (..., N) each."""
    precision = hits / np.maximum(shown, np.spacing(1))
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def at_recalls(precision: np.ndarray, recall: np.ndarray, grid: np.ndarray = RECALLS) -> np.ndarray:
    """Interpolated precision (N,) with its recall (N,) at each recall of the grid; 0 where it is not reached."""
    return np.append(precision, 0.0)[np.searchsorted(recall, grid)]


def mean_at_recalls(precision: np.ndarray, recall: np.ndarray, grid: np.ndarray = RECALLS) -> np.ndarray:
    """The mean of `at_recalls` of each draw, (draws,), from (draws, N) each.

    The curve is followed from place to place, each counted for every recall of the grid that it is the first to reach.
    """
    first = np.diff(np.searchsorted(grid, recall, side="right"), axis=1, prepend=0)
    return (precision * first).sum(1) / len(grid)
