"""COCO average precision, by pycocotools. The only place that uses it."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from casc_det.evaluation.bootstrap import Outcomes
from casc_det.evaluation.truth import Truth
from casc_det.heads.detect.detections import Detections

OFFICIAL = (
    *("mAP50-95", "mAP50", "mAP75", "mAP small", "mAP medium", "mAP large"),
    *("AR 1", "AR 10", "AR 100", "AR small", "AR medium", "AR large"),
)


def user_ids(truth: Truth) -> list:
    """The image id of each image as the user's files have it: that of a COCO file, else 1, 2, ... in order."""
    return [image.key for image in truth.images] if truth.kind == "coco" else list(range(1, len(truth.images) + 1))


def numbered(ids: list) -> list[int]:
    """1..n for ids of any kind, in their order, which is how pycocotools walks them (and so breaks ties of scores).

    pycocotools itself sorts ids, takes the id 0 of an object for "nothing matched", and cannot do with mixed kinds.
    """
    try:
        order = sorted(range(len(ids)), key=ids.__getitem__)
    except TypeError:  # numbers beside texts
        order = list(range(len(ids)))
    ranks = [0] * len(ids)
    for rank, place in enumerate(order, 1):
        ranks[place] = rank
    return ranks


def to_coco(truth: Truth) -> dict:
    """The data set as the content of a COCO instances file, all ids `numbered`: never the user's own."""
    images: list[dict] = []
    annotations: list[dict] = []
    category_numbers = numbered(truth.category_ids)
    for number, image in zip(numbered(user_ids(truth)), truth.images, strict=True):
        images.append({"id": number, "width": image.width, "height": image.height, "file_name": image.path})
        for i, (x1, y1, x2, y2) in enumerate(image.boxes.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category_numbers[image.labels[i]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(image.areas[i]),
                    "iscrowd": int(image.crowd[i] | image.difficult[i]),
                }
            )
    categories = [{"id": i, "name": name} for i, name in zip(category_numbers, truth.names, strict=True)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def to_results(truth: Truth, found: list[Detections]) -> list[dict]:
    """Detections as a COCO results list with the user's own ids.

    Args:
        found: of each image, in the labels of the data set.
    """
    entries = []
    for image_id, one in zip(user_ids(truth), found, strict=True):
        rows = zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True)
        for (x1, y1, x2, y2), score, label in rows:
            bbox = [x1, y1, x2 - x1, y2 - y1]
            category = truth.category_ids[label]
            entries.append({"image_id": image_id, "category_id": category, "bbox": bbox, "score": score})
    return entries


def evaluate_coco(truth: Truth, results: list[dict], labels: list[int]) -> tuple[dict, dict, list[Outcomes]]:
    """The 12 official numbers, the AP of each class (mAP in 0..1), and the outcomes of all detections of each class.

    What has no object (a class, a size, the whole set) is NaN.

    Args:
        results: a COCO results list with the user's own ids.
        labels: the classes to score, indices into `truth.names`.
    """
    evaluation = _evaluated(_ground(truth), truth, results, labels)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    numbers = {k: float("nan") if v < 0 else float(v) for k, v in zip(OFFICIAL, evaluation.stats, strict=True)}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
    by_class = {truth.names[label]: _mean(precision[:, :, i]) for label, i in _columns(evaluation, truth, labels)}
    return numbers, by_class, _outcomes(evaluation, truth, labels)


class CocoCurve:
    """mAP of many sets of detections on one data set: all areas, 100 detections an image, nothing else computed."""

    def __init__(self, truth: Truth, labels: list[int]) -> None:
        self.truth, self.labels, self.ground = truth, labels, _ground(truth)

    def __call__(self, found: list[Detections]) -> tuple[float, float]:
        """mAP50-95 and mAP50, NaN without objects; found: see `to_results`."""
        precision = self._evaluated(found).eval["precision"][..., 0, 0]
        return _mean(precision), _mean(precision[0])

    def outcomes(self, found: list[Detections]) -> list[Outcomes]:
        """What became of every detection, class by class, for `bootstrap_gap`."""
        return _outcomes(self._evaluated(found), self.truth, self.labels)

    def _evaluated(self, found: list[Detections]) -> COCOeval:
        return _evaluated(self.ground, self.truth, to_results(self.truth, found), self.labels, all_areas=False)


def _ground(truth: Truth) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = to_coco(truth)
        ground.createIndex()
    return ground


def _evaluated(ground: COCO, truth: Truth, results: list[dict], labels: list[int], all_areas: bool = True) -> COCOeval:
    """pycocotools' matches and curves of a results list with the user's own ids."""
    ids, category_numbers = user_ids(truth), numbered(truth.category_ids)
    image_number = dict(zip(ids, numbered(ids), strict=True))
    category_number = dict(zip(truth.category_ids, category_numbers, strict=True))
    own = [
        {**r, "image_id": image_number[r["image_id"]], "category_id": category_number[r["category_id"]]}
        for r in results
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground, ground.loadRes(own) if own else COCO(), "bbox")
        evaluation.params.imgIds = sorted(image_number.values())
        evaluation.params.catIds = sorted(category_numbers[label] for label in labels)
        if not all_areas:
            evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
            evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _mean(precision: np.ndarray) -> float:
    """The mean where there are objects (pycocotools marks the rest with -1), NaN where there are none."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")


def _columns(evaluation: COCOeval, truth: Truth, labels: list[int]) -> list[tuple[int, int]]:
    """(label, its column in pycocotools' arrays) of each class."""
    category_numbers = numbered(truth.category_ids)
    columns = {number: column for column, number in enumerate(evaluation.params.catIds)}
    return [(label, columns[category_numbers[label]]) for label in labels]


def _outcomes(evaluation: COCOeval, truth: Truth, labels: list[int]) -> list[Outcomes]:
    """The outcome of every detection, as pycocotools matched it (all areas, at most 100 detections an image)."""
    areas, thresholds = len(evaluation.params.areaRng), len(evaluation.params.iouThrs)
    places = np.argsort(numbered(user_ids(truth)))  # pycocotools' order of the images -> that of the data set
    result = []
    for _, column in _columns(evaluation, truth, labels):
        begin = column * areas * len(places)
        found = evaluation.evalImgs[begin : begin + len(places)]
        positives = np.zeros(len(places), dtype=np.int64)
        positives[places] = [0 if e is None else np.sum(~np.array(e["gtIgnore"], dtype=bool)) for e in found]
        seen = [(place, e) for place, e in zip(places, found, strict=True) if e is not None]
        outcome = [np.where(e["dtIgnore"][:, :100], -1, e["dtMatches"][:, :100] > 0).astype(np.int8) for _, e in seen]
        scores = [np.array(e["dtScores"][:100], dtype=np.float64) for _, e in seen]
        image = [np.full(len(s), place) for (place, _), s in zip(seen, scores, strict=True)]
        order = np.argsort(-np.concatenate([*scores, []]), kind="mergesort")
        joined = np.concatenate([*outcome, np.zeros((thresholds, 0), np.int8)], axis=1)
        result.append(Outcomes(joined[:, order], np.concatenate([*image, []]).astype(np.int64)[order], positives))
    return result
