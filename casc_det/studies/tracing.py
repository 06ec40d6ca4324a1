"""One simulation of one image, made into a `Trace`: what each step sends, detects, and how far it is from the ANN."""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch.linalg import vector_norm as norm

from casc_det.graph import SpikingGraph
from casc_det.heads.detect.decode import decode_maps, detect
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.simulation import Simulator, Step, check_timesteps, spiking_convolutions
from casc_det.simulation.fast.convolution import channels_last
from casc_det.simulation.twin import AnnOutput
from casc_det.studies.traces import SHOWN, Trace
from casc_det.yolo.images import in_original


@dataclass(frozen=True)
class View:
    """How the detections of an image are made.

    Attributes:
        shape: of the letterboxed image, (height, width). original: of the one that it was made of, (height, ...).
        settings: the detections that are scored; of other classes, those that are shown are kept, too.
    """

    graph: SpikingGraph
    shape: tuple[int, ...]
    original: tuple[int, ...]
    settings: DetectionSettings

    def table(self, readout: dict[str, torch.Tensor]) -> np.ndarray:
        """(N, 6) float64: xyxy in pixels of the original image, score, label."""
        scored = self.settings.classes or ()
        others = tuple(label for label in range(len(self.graph.names)) if label not in scored)
        boxes, scores = decode_maps(readout, self.graph.strides, self.graph.reg_max)
        choices = (self.settings, replace(self.settings, conf=SHOWN, classes=others))
        found = [detect(boxes[0], scores[0], choice) for choice in choices if choice.classes]
        return np.concatenate([in_original(one, self.shape, self.original).table() for one in found])


class Target:
    """The ANN's answer to an image, which each step is held against."""

    def __init__(self, ann: AnnOutput) -> None:
        self.readout = {name: channels_last(y) for name, y in ann.readout.items()}  # as the engine lays them out
        self.values = sum(y.numel() for y in self.readout.values())
        self.size = sum(float(norm(y, ord=1)) for y in self.readout.values())

    def row(self, step: Step, readout: dict[str, torch.Tensor]) -> dict[str, np.ndarray | float]:
        """The arrays of a `Trace` at one step."""
        assert step.match is not None, "counts are given to compare with"
        gaps = [(readout[name] - y).double() for name, y in self.readout.items()]
        sent, taken_back = step.fired[:, :, 0].cpu().numpy().T
        more, fewer, count_gap = step.match[:, 0].cpu().numpy().T
        return {
            "sent": sent,
            "taken_back": taken_back,
            "messages": step.messages[:, 0].cpu().numpy(),
            "sops": float(step.sops[0]),
            "more": more,
            "fewer": fewer,
            "count_gap": count_gap / step.graph.levels,
            "mse": sum(float(norm(gap)) ** 2 for gap in gaps) / self.values,
            "relative_error": sum(float(norm(gap, ord=1)) for gap in gaps) / self.size,
        }


@torch.no_grad()
def trace_image(
    simulator: Simulator,
    image: torch.Tensor,
    original: tuple[int, ...],
    ann: AnnOutput,
    steps: tuple[int, ...],
    settings: DetectionSettings,
) -> Trace:
    """Simulate one image up to the last of `steps`, or until it rests.

    Args:
        image: (1, 3, H, W), letterboxed. original: shape (height, width, ...) of the image it was made of.
        ann: the ANN's answer to it, with counts.
        steps: those whose detections are wanted; other steps get those of the step before.
        settings: which detections are scored, see `View`.
    """
    graph, simulation = simulator.graph, simulator.settings
    target, view = Target(ann), View(graph, image.shape[2:], original, settings)
    limit = steps[-1]
    if simulation.rests:
        limit = min(limit, check_timesteps("auto", graph, simulation))
    wanted, rest = set(steps), 0
    rows: list[dict[str, np.ndarray | float]] = []
    tables: list[np.ndarray] = []
    seconds: list[np.ndarray] = []
    peaks = np.zeros(len(spiking_convolutions(graph)))
    start = perf_counter()
    for step in simulator.run(image, limit, compare=ann.counts):
        simulated = perf_counter()
        readout = step.readout
        read = perf_counter()
        rows.append(target.row(step, readout))
        peaks = np.maximum(peaks, step.peaks[:, 0].cpu().numpy())
        compared = perf_counter()
        if bool(step.quiescent.all()):
            rest = step.t
        tables.append(view.table(readout) if step.t in wanted or rest or not tables else tables[-1])
        found = perf_counter()
        seconds.append(np.diff([start, simulated, read, compared, found]))
        start = found
        if rest:
            break
    return Trace(
        **{name: np.array([row[name] for row in rows]) for name in rows[0]},
        ann_counts=np.array([float(n.abs().sum()) for n in ann.counts.values()]),
        rest=np.array(rest),
        peaks=peaks,
        detections=np.concatenate(tables),
        offsets=np.cumsum([0, *map(len, tables)]),
        ann=view.table(ann.readout),
        seconds=np.array(seconds),
    )
