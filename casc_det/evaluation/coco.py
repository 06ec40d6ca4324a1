"""COCO average precision, by pycocotools. The only place that uses it."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casc_det.evaluation.bootstrap import Outcomes
from casc_det.evaluation.truth import Truth

OFFICIAL = (
    *("mAP50-95", "mAP50", "mAP75", "mAP small", "mAP medium", "mAP large"),
    *("AR 1", "AR 10", "AR 100", "AR small", "AR medium", "AR large"),
)


def to_coco(truth: Truth) -> dict:
    """The data set as the content of a COCO instances file; pictures are numbered where their keys are names."""
    numbers = image_numbers(truth)
    images, annotations = [], []
    for picture in truth.pictures:
        number = numbers[picture.key]
        images.append({"id": number, "width": picture.width, "height": picture.height, "file_name": picture.path})
        for i, (x1, y1, x2, y2) in enumerate(picture.boxes.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": truth.category_ids[picture.labels[i]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(picture.areas[i]),
                    "iscrowd": int(picture.crowd[i] | picture.difficult[i]),
                }
            )
    categories = [{"id": i, "name": name} for i, name in zip(truth.category_ids, truth.names, strict=True)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def image_numbers(truth: Truth) -> dict:
    """The COCO image id of each picture key: itself where it is a number, else 1, 2, ..."""
    return {p.key: p.key if isinstance(p.key, int) else i for i, p in enumerate(truth.pictures, 1)}


def to_results(truth: Truth, found: list[tuple]) -> list[dict]:
    """Detections as a COCO results list. found: for each picture (boxes (N, 4) xyxy, scores (N,), labels (N,))."""
    numbers, entries = image_numbers(truth), []
    for picture, (boxes, scores, labels) in zip(truth.pictures, found, strict=True):
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            category = truth.category_ids[label]
            entries.append({"image_id": numbers[picture.key], "category_id": category, "bbox": bbox, "score": score})
    return entries


def evaluate_coco(truth: Truth, results: list[dict], labels: list[int]) -> tuple[dict, dict, list[Outcomes]]:
    """The 12 official numbers, the AP of each class (mAP in 0..1), and the outcomes of all detections of each class.

    Args:
        results: a COCO results list.
        labels: the classes to score, indices into `truth.names`.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = to_coco(truth)
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(results) if results else COCO(), "bbox")
        evaluation.params.imgIds = sorted(image_numbers(truth).values())
        evaluation.params.catIds = [truth.category_ids[label] for label in labels]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(OFFICIAL, map(float, evaluation.stats), strict=True))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
    by_class = {}
    for i, label in enumerate(labels):
        valid = precision[:, :, i][precision[:, :, i] > -1]
        by_class[truth.names[label]] = float(valid.mean()) if valid.size else float("nan")
    return numbers, by_class, _outcomes(evaluation, len(labels))


class CocoCurve:
    """mAP of many sets of detections on one data set: all areas, 100 detections a picture, nothing else computed."""

    def __init__(self, truth: Truth, labels: list[int]):
        self.truth, self.labels = truth, labels
        with contextlib.redirect_stdout(io.StringIO()):
            self.ground = COCO()
            self.ground.dataset = to_coco(truth)
            self.ground.createIndex()

    def __call__(self, found: list[tuple]) -> tuple[float, float]:
        """mAP50-95 and mAP50; found: see `to_results`."""
        if not any(len(scores) for _, scores, _ in found):
            return 0.0, 0.0
        precision = self._evaluated(found).eval["precision"][..., 0, 0]
        mean = lambda values: float(values[values > -1].mean()) if (values > -1).any() else float("nan")
        return mean(precision), mean(precision[0])

    def outcomes(self, found: list[tuple]) -> list[Outcomes]:
        """What became of every detection, class by class, for `bootstrap_gap`."""
        return _outcomes(self._evaluated(found), len(self.labels))

    def _evaluated(self, found: list[tuple]) -> COCOeval:
        results = to_results(self.truth, found)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self.ground, self.ground.loadRes(results) if results else COCO(), "bbox")
            evaluation.params.imgIds = sorted(image_numbers(self.truth).values())
            evaluation.params.catIds = [self.truth.category_ids[label] for label in self.labels]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation


def _outcomes(evaluation: COCOeval, classes: int) -> list[Outcomes]:
    """The outcome of every detection, as pycocotools matched it (all areas, at most 100 detections a picture)."""
    pictures, areas = len(evaluation.params.imgIds), len(evaluation.params.areaRng)
    result = []
    for c in range(classes):
        found = evaluation.evalImgs[c * areas * pictures : c * areas * pictures + pictures]
        positives = np.array([0 if e is None else np.sum(~np.array(e["gtIgnore"], dtype=bool)) for e in found])
        seen = [(i, e) for i, e in enumerate(found) if e is not None]
        thresholds = len(evaluation.params.iouThrs)
        outcome = [np.where(e["dtIgnore"][:, :100], -1, e["dtMatches"][:, :100] > 0).astype(np.int8) for _, e in seen]
        scores = [np.array(e["dtScores"][:100], dtype=np.float64) for _, e in seen]
        picture = [np.full(len(s), i) for (i, _), s in zip(seen, scores, strict=True)]
        order = np.argsort(-np.concatenate([*scores, []]), kind="mergesort")
        joined = np.concatenate([*outcome, np.zeros((thresholds, 0), np.int8)], axis=1)
        result.append(Outcomes(joined[:, order], np.concatenate([*picture, []]).astype(np.int64)[order], positives))
    return result
