"""Run float network, ANN twin and spiking network over images, all time steps of the latter in one simulation.

Each image gives a record of JSON values: `{"key", "input": (H, W) of the network's input, "rows": {row: detections},
"cost": {row: {"seconds", ...}}}`.
"""

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from casc_det.base.threads import computing
from casc_det.evaluation.networks import Networks
from casc_det.evaluation.settings import ValidationSettings
from casc_det.evaluation.truth import LabelledImage
from casc_det.heads.detect.decode import DetectHead
from casc_det.heads.detect.detections import Detections, same_boxes
from casc_det.simulation import Step
from casc_det.simulation.step import Tally
from casc_det.simulation.twin import AnnOutput, ann_forward

if TYPE_CHECKING:
    from casc_det.yolo.images import Frame

Record = dict[str, Any]
Readout = dict[str, torch.Tensor]


def detect_batch(networks: Networks, images: Sequence[LabelledImage], settings: ValidationSettings) -> Iterator[Record]:
    """The record of each image; those whose letterboxed sizes are equal are simulated together.

    Raises:
        SourceError: an image cannot be read.
    """
    from casc_det.yolo.images import letterbox, read_image

    stride = max(networks.graph.strides)
    by_size: dict[tuple[int, ...], list[tuple[LabelledImage, Frame, torch.Tensor]]] = {}
    for image in images:
        frame = read_image(image.path)
        x = letterbox(frame.image, settings.imgsz, stride, settings.rect)
        by_size.setdefault(tuple(x.shape), []).append((image, frame, x))
    for same in by_size.values():
        batch = Batch(networks, settings, *zip(*same, strict=True))
        with computing(settings.threads):
            batch.run()
        yield from batch.records


class Batch:
    """Images of one letterboxed size.

    Args:
        labelled, frames: the images and what their files hold. inputs: (3, H, W) of each.
    """

    def __init__(
        self,
        networks: Networks,
        settings: ValidationSettings,
        labelled: Sequence[LabelledImage],
        frames: "Sequence[Frame]",
        inputs: Sequence[torch.Tensor],
    ) -> None:
        self.networks, self.settings, self.frames = networks, settings, frames
        self.images = torch.stack(list(inputs)).to(networks.graph.device, networks.graph.dtype)
        size = list(self.images.shape[2:])
        self.records: list[Record] = [{"key": one.key, "input": size, "rows": {}, "cost": {}} for one in labelled]

    def run(self) -> None:
        """Fill the records."""
        graph, floats = self.networks.graph, self.networks.floats
        if floats is not None:
            start = perf_counter()
            readout = floats.readout(self.images)
            self.add("float", readout, perf_counter() - start)
        start = perf_counter()
        ann = ann_forward(graph, self.images)
        self.add("ann", ann.readout, perf_counter() - start)
        self.add_spiking(ann)
        for record in self.records:
            found = {row: Detections.of_record(values) for row, values in record["rows"].items()}
            for row in self.settings.rows:
                record["cost"][row]["same_boxes"] = same_boxes(found[row], found["ann"])

    def add(self, row: str, readout: Readout, seconds: float) -> None:
        """Add the detections of a row, and its seconds for each image."""
        from casc_det.yolo.images import in_original

        floats = self.networks.floats
        head = DetectHead.of(floats if row == "float" and floats is not None else self.networks.graph)
        answers = head.answers(readout, self.networks.scoring(row))
        for record, frame, found in zip(self.records, self.frames, answers, strict=True):
            record["rows"][row] = in_original(found, self.images.shape[2:], frame.image.shape).record()
            record["cost"][row] = {"seconds": seconds / len(self.records)}

    def add_spiking(self, ann: AnnOutput) -> None:
        """Add the rows of the spiking network, all from one simulation."""
        settings, simulator = self.settings, self.networks.simulator
        tally = Tally(simulator.graph, simulator.settings, len(self.records))
        asked = {t for t in settings.timesteps if t != "auto"}
        seconds, start = 0.0, perf_counter()
        for step in simulator.run(self.images, settings.last):
            seconds += perf_counter() - start
            tally.add(step)
            if step.t in asked:
                self.add_step(f"snn {step.t}", step, ann, tally, seconds)
                asked.discard(step.t)
            if all(tally.quiescent):
                break
            start = perf_counter()
        left = [f"snn {t}" for t in (*sorted(asked), *(["auto"] if "auto" in settings.timesteps else []))]
        for row in left[:1]:
            self.add_step(row, step, ann, tally, seconds)
        for row in left[1:]:  # later steps would change nothing
            for record in self.records:
                record["rows"][row] = record["rows"][left[0]]
                record["cost"][row] = dict(record["cost"][left[0]])

    def add_step(self, row: str, step: Step, ann: AnnOutput, tally: Tally, seconds: float) -> None:
        """Add a row of the spiking network."""
        readout = step.readout
        self.add(row, readout, seconds)
        different: list[int | None] = [None] * len(self.records)  # counts are known at the last step and at rest
        if counts := step.counts:
            layer_by_layer = [(counts[name] != n).flatten(1).sum(1) for name, n in ann.counts.items()]
            different = torch.stack(layer_by_layer).sum(0).tolist()
        for i, record in enumerate(self.records):
            mean, largest = readout_difference(readout, ann.readout, i)
            info = tally.info(i)
            record["cost"][row] |= {
                "timesteps": info.timesteps,
                "quiescent": info.quiescent,
                "spikes": info.layer_spikes,
                "messages": info.layer_messages,
                "sops": info.layer_sops,
                "peaks": info.peaks,
                "difference_mean": mean,
                "difference_max": largest,
                "neurons_different": different[i],
            }


def readout_difference(first: Readout, second: Readout, i: int) -> tuple[float, float]:
    """Mean and largest absolute difference of image `i` over all readout values."""
    gaps = torch.cat([(first[name][i] - second[name][i]).abs().flatten() for name in second])
    return gaps.mean().item(), gaps.max().item()
