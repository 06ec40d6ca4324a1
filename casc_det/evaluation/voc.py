"""PASCAL VOC average precision.

As the VOC development kit computes it: detections of a class by falling score; each is compared with the object of
its image that it overlaps most; overlap >= threshold is a hit the first time, a false alarm again; `difficult`
objects are neither. VOC07 averages the interpolated precision at 11 recalls, VOC12 integrates the whole curve.
"""

import numpy as np

from casc_det.evaluation.bootstrap import Outcomes
from casc_det.evaluation.precision import at_recalls, interpolated
from casc_det.evaluation.truth import LabelledImage
from casc_det.heads.detect.boxes import overlaps
from casc_det.heads.detect.detections import Detections

THRESHOLDS = np.arange(50, 100, 5) / 100


def match_image(image: LabelledImage, label: int, boxes: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Outcome of one image's detections of a class, by falling score: (thresholds, N) of 1, 0 or -1 (ignored)."""
    chosen = image.labels == label
    objects, ignored = image.boxes[chosen], (image.difficult | image.crowd)[chosen]
    outcome = np.zeros((len(thresholds), len(boxes)), dtype=np.int8)
    if not len(objects) or not len(boxes):
        return outcome
    iou = overlaps(boxes, objects)
    best = iou.argmax(1)
    for i, threshold in enumerate(thresholds):
        taken = np.zeros(len(objects), dtype=bool)
        for d in np.flatnonzero(iou[np.arange(len(boxes)), best] >= threshold):
            if ignored[best[d]]:
                outcome[i, d] = -1
            elif not taken[best[d]]:
                taken[best[d]], outcome[i, d] = True, 1
    return outcome


def average_precision(hits: np.ndarray, positives: int, points: int | None = None) -> float:
    """AP from hits (N,) of 1 and 0 by falling score. points: 11 for VOC07, None for the whole curve (VOC12)."""
    if not positives:
        return float("nan")
    found = np.cumsum(hits)
    recall, precision = found / positives, interpolated(found, np.arange(1, len(hits) + 1))
    if points:
        return float(at_recalls(precision, recall, np.arange(points) / (points - 1) - 1e-12).mean())
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def evaluate_voc(
    images: list[LabelledImage], found: list[Detections], labels: list[int]
) -> tuple[dict[str, dict], list[Outcomes]]:
    """VOC07 and VOC12 AP at IoU 0.5 and AP50:95 (whole curve) of each class.

    Args:
        found: of each image, in the labels of the data set.
        labels: the classes to score.

    Returns:
        {"voc07": {label: AP}, "voc12": {label: AP}, "50-95": {label: AP}}, NaN where a class has no object; and the
        outcomes of all detections of each class.
    """
    result: dict[str, dict] = {"voc07": {}, "voc12": {}, "50-95": {}}
    all_outcomes = []
    for label in labels:
        outcomes = match_class(images, found, label)
        all_outcomes.append(outcomes)
        positives = int(outcomes.positives.sum())
        curves = [row[row >= 0] for row in outcomes.outcome]
        result["voc07"][label] = average_precision(curves[0], positives, 11)
        result["voc12"][label] = average_precision(curves[0], positives)
        result["50-95"][label] = float(np.mean([average_precision(curve, positives) for curve in curves]))
    return result, all_outcomes


def match_class(images: list[LabelledImage], found: list[Detections], label: int) -> Outcomes:
    """Outcomes of all detections of one class, by falling score (ties: by image)."""
    scores, outcomes, places, positives = [], [], [], []
    for i, (image, one) in enumerate(zip(images, found, strict=True)):
        positives.append(int(((image.labels == label) & ~(image.difficult | image.crowd)).sum()))
        mine = one[one.labels == label]
        mine = mine[np.argsort(-mine.scores, kind="stable")]
        scores.append(mine.scores)
        outcomes.append(match_image(image, label, mine.boxes))
        places.append(np.full(len(mine), i))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Outcomes(np.concatenate(outcomes, axis=1)[:, order], np.concatenate(places)[order], np.array(positives))
