"""Average precision of every row, and how sure its gap to the ANN is."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from casc_det.base.files import write_text
from casc_det.evaluation.bootstrap import Outcomes, bootstrap_gap, image_aps
from casc_det.evaluation.classes import ClassMap, mapped
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.truth import Truth
from casc_det.evaluation.voc import evaluate_voc
from casc_det.heads.detect.detections import Detections

Rows = dict[str, dict[str, Any]]


def found_in(row: str, records: Sequence[dict], maps: dict[str, ClassMap]) -> list[Detections]:
    """The detections of a row in each image, in the labels of the data set. maps: see `Networks`."""
    classes = maps["float" if row == "float" else "snn"]
    return [mapped(Detections.of_record(record["rows"][row]), classes) for record in records]


def score(
    truth: Truth, records: Sequence[dict], maps: dict[str, ClassMap], protocol: str, draws: int, folder: Path
) -> tuple[Rows, dict[str, list[Outcomes]]]:
    """Score every row; write its predictions.

    Args:
        maps: "float" and "snn" -> class map; the ANN uses that of "snn". draws: of `bootstrap_gap`; 0 for none.

    Returns:
        row name -> {"mAP50-95", "mAP50", ..., "classes": {name: AP}, "predictions": file}, and row name -> outcomes of
        the detections of each class.
    """
    scored = [i for i in range(len(truth.names)) if truth.names[i] not in maps["snn"].missing]
    rows: Rows = {}
    outcomes: dict[str, list[Outcomes]] = {}
    for row in records[0]["rows"]:
        found = found_in(row, records, maps)
        predictions = to_results(truth, found)
        file = f"predictions_{row.replace(' ', '_')}.json"
        write_text(folder / file, json.dumps(predictions))
        same = next((r for r in rows if all(record["rows"][r] == record["rows"][row] for record in records)), None)
        if same and same != "float":
            rows[row], outcomes[row] = {**rows[same], "predictions": file}, outcomes[same]
            continue
        if protocol == "coco":
            numbers, by_class, outcomes[row] = evaluate_coco(truth, predictions, scored)
        else:
            numbers, by_class, outcomes[row] = voc_scores(truth, found, scored, protocol)
        rows[row] = {**numbers, "classes": by_class, "predictions": file}
    if draws:
        add_gaps(rows, outcomes, draws)
    return rows, outcomes


def voc_scores(
    truth: Truth, found: list[Detections], scored: list[int], protocol: str
) -> tuple[dict[str, float], dict[str, float], list[Outcomes]]:
    """As `evaluate_coco`: means over classes, AP of each class by `protocol`, and outcomes."""
    aps, outcomes = evaluate_voc(truth.images, found, scored)
    mean = {key: mean_of_known(ap.values()) for key, ap in aps.items()}
    numbers = {"mAP50-95": mean["50-95"], "mAP50": mean[protocol]}
    numbers |= {"mAP50 VOC07": mean["voc07"], "mAP50 VOC12": mean["voc12"]}
    return numbers, {truth.names[label]: ap for label, ap in aps[protocol].items()}, outcomes


def mean_of_known(values: Iterable[float]) -> float:
    """The mean without NaN; NaN where nothing is left."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def add_gaps(rows: Rows, outcomes: dict[str, list[Outcomes]], draws: int) -> None:
    """Add the gap of each spiking row to the ANN, its 95 % interval, and the gap image by image."""
    gaps = bootstrap_gap({r: o for r, o in outcomes.items() if r != "float"}, "ann", draws)
    alone = image_aps(outcomes["ann"])
    for row, gap in gaps.items():
        rows[row]["gap_to_ann"] = rows[row]["mAP50-95"] - rows["ann"]["mAP50-95"]
        rows[row]["gap_95"] = list(gap)
        difference = image_aps(outcomes[row]) - alone
        rows[row]["picture_ap_minus_ann"] = [None if np.isnan(d) else float(d) for d in difference]
