"""Run float network, ANN twin and spiking network over the images of a data set, once each, resumably.

All time steps of the spiking network come from one simulation. Each finished batch is appended to a JSON-lines file of
the run folder; a line that a kill cut short is dropped when the run is resumed, and its image is done again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from casc_det.base.threads import computing
from casc_det.evaluation.classes import ClassMap
from casc_det.evaluation.truth import LabelledImage
from casc_det.graph import SpikingGraph
from casc_det.heads import head_of
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.head import DetectHead
from casc_det.heads.detect.same import same_boxes
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.simulation import PLAIN, SimulationSettings, simulate, spiking_convolutions
from casc_det.simulation.twin import ann_forward

SCORING = DetectionSettings(conf=0.001, multi_label=True)  # as Ultralytics validates


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run on every image.

    Attributes:
        timesteps: whole numbers and "auto", the rows of the spiking network.
        imgsz: (height, width) of the letterboxed image. rect: pad to the stride only.
        scoring, float_scoring: which detections of the graph and of the float network count, see `scoring`.
        simulation: see `simulate`. threads: see `casc_det.base.threads`.
    """

    timesteps: tuple[int | str, ...]
    imgsz: tuple[int, int]
    scoring: DetectionSettings = SCORING
    float_scoring: DetectionSettings = SCORING
    rect: bool = False
    simulation: SimulationSettings = PLAIN
    threads: int | str = "auto"

    @property
    def last(self) -> int | str:
        """What to simulate: the largest row, or until quiescence."""
        return "auto" if "auto" in self.timesteps else max(self.timesteps)

    @property
    def rows(self) -> list[str]:
        return [f"snn {t}" for t in self.timesteps]


def scoring(classes: ClassMap) -> DetectionSettings:
    """How detections are made that are to be scored, by `val` and `study` alike.

    Classes that the data set does not have are dropped first, then the best 300 of each image are kept.
    """
    return replace(SCORING, classes=tuple(np.flatnonzero(classes.label_of >= 0).tolist()))


def detect_batch(graph: SpikingGraph, floats, images: list[LabelledImage], plan: Plan) -> Iterator[dict]:
    """The record of each image: detections and cost of each row.

    Args:
        floats: a `FloatNetwork` or None.
        images: simulated together where their letterboxed sizes are equal.
    """
    from casc_det.yolo.images import read_image
    from casc_det.yolo.letterbox import letterbox

    by_size: dict[tuple, list] = {}
    for image in images:
        frame = read_image(image.path)
        x = letterbox(frame.image, plan.imgsz, max(graph.strides), plan.rect)
        by_size.setdefault(tuple(x.shape), []).append((image, frame, x))
    for same in by_size.values():
        with computing(plan.threads):
            records = _detect_same_size(graph, floats, *zip(*same, strict=True), plan)
        yield from records


def _detect_same_size(graph: SpikingGraph, floats, labelled, frames, images, plan: Plan) -> list[dict]:
    """The records of images of one letterboxed size."""
    from casc_det.yolo.letterbox import in_original

    images = torch.stack(images).to(graph.device, graph.dtype)
    records = [{"key": p.key, "input": list(images.shape[2:]), "rows": {}, "cost": {}} for p in labelled]
    own = head_of(graph)

    def add(row: str, readout, seconds: float, head: DetectHead = own, settings=plan.scoring):
        for record, frame, found in zip(records, frames, head.answers(readout, settings), strict=True):
            record["rows"][row] = in_original(found, images.shape[2:], frame.image.shape).record()
            record["cost"][row] = {"seconds": seconds / len(records)}

    start = perf_counter()
    if floats is not None:
        readout = floats.readout(images)
        add("float", readout, perf_counter() - start, own.of(floats), plan.float_scoring)
        start = perf_counter()
    ann = ann_forward(graph, images)
    add("ann", ann.readout, perf_counter() - start)
    _spiking_rows(graph, images, plan, ann, add, records)
    for record in records:
        found = {row: Detections.of_record(values) for row, values in record["rows"].items()}
        for row in plan.rows:
            record["cost"][row]["same_boxes"] = same_boxes(found[row], found["ann"])
    return records


def _spiking_rows(graph, images, plan: Plan, ann, add, records) -> None:
    """Add the rows of one simulation."""
    asked = {t for t in plan.timesteps if t != "auto"}
    spikes = torch.zeros(len(images), dtype=torch.float64)
    convs, passed = [node.name for node in spiking_convolutions(graph)], 0
    used, rest = [0] * len(images), [False] * len(images)
    seconds, start = 0.0, perf_counter()

    def emit(row: str, step):
        readout = step.readout
        add(row, readout, seconds)
        differences = [readout_difference(readout, ann.readout, i) for i in range(len(images))]
        flipped = [None] * len(images)  # the counts are known at the last step and at rest
        if counts := step.counts:
            flipped = sum((counts[name] != n).flatten(1).sum(1) for name, n in ann.counts.items()).tolist()
        for i, record in enumerate(records):
            record["cost"][row] |= {
                "timesteps": used[i],
                "quiescent": rest[i],
                "spikes": spikes[i].item(),
                "sops": dict(zip(convs, passed[:, i].tolist(), strict=True)),
                "difference_mean": differences[i][0],
                "difference_max": differences[i][1],
                "neurons_different": flipped[i],
            }

    for step in simulate(graph, images, plan.last, plan.simulation):
        seconds += perf_counter() - start
        spikes += step.fired.sum((0, 1)).cpu()
        passed = passed + step.passed.cpu()
        quiescent = step.quiescent.tolist()
        for i in range(len(images)):
            if not rest[i]:
                used[i], rest[i] = step.t, quiescent[i]
        if step.t in asked:
            emit(f"snn {step.t}", step)
            asked.discard(step.t)
        if all(rest):
            break
        start = perf_counter()
    at_rest = [f"snn {t}" for t in (*sorted(asked), *(["auto"] if "auto" in plan.timesteps else []))]
    for row in at_rest[:1]:
        emit(row, step)
    for row in at_rest[1:]:  # later steps would change nothing
        for record in records:
            record["rows"][row] = record["rows"][at_rest[0]]
            record["cost"][row] = dict(record["cost"][at_rest[0]])


def readout_difference(first: dict, second: dict, i: int) -> tuple[float, float]:
    """Mean and largest absolute difference of image `i` over all readout values."""
    gaps = torch.cat([(first[name][i] - second[name][i]).abs().flatten() for name in second])
    return gaps.mean().item(), gaps.max().item()
