"""Everything that one picture gives in one variant: all time steps of one simulation, as arrays in one file."""

import hashlib
import io
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch.linalg import vector_norm as norm

from casc_det.base.files import write_bytes
from casc_det.graph import SpikingGraph
from casc_det.heads.detect.decode import decode_maps, detect
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.simulation import check_timesteps, simulate
from casc_det.simulation.fast.convolution import channels_last
from casc_det.simulation.twin import AnnOutput
from casc_det.studies.variants import Variant

SHOWN = DetectionSettings.conf  # score from which boxes are shown: what the policies look at, whatever the class
BY_STEP = ("sent", "taken_back", "sops", "more", "fewer", "count_gap", "mse", "relative_error")


@dataclass
class Trace:
    """T steps of one picture; L neuron layers; step t is row t - 1. After rest the last row stands for all later ones.

    Attributes:
        sent, taken_back: (T, L) spikes of each layer in each step.
        sops: (T,) synaptic operations of each step.
        more, fewer: (T, L) neurons whose rate is above or below the ANN's; count_gap: (T, L) sum of the differences of
            the counts, in spikes. ann_counts: (L,) sum of the ANN's counts.
        mse, relative_error: (T,) of the readout against the ANN's: mean squared difference, and mean absolute
            difference over the ANN's mean absolute value.
        rest: step at which the network was seen to be at rest; 0: it was not.
        detections: (M, 6) xyxy, score, label of all steps after one another; offsets: (T + 1,) where each begins.
        ann: (N, 6) the ANN's detections.
        seconds: (T, 4) of simulation with counts held against the ANN's, of reading out, of errors, of boxes.
    """

    sent: np.ndarray
    taken_back: np.ndarray
    sops: np.ndarray
    more: np.ndarray
    fewer: np.ndarray
    count_gap: np.ndarray
    ann_counts: np.ndarray
    mse: np.ndarray
    relative_error: np.ndarray
    rest: np.ndarray
    detections: np.ndarray
    offsets: np.ndarray
    ann: np.ndarray
    seconds: np.ndarray

    def at(self, t: int) -> Detections:
        """The detections after step t."""
        row = min(t, len(self.sops)) - 1
        return Detections.of_table(self.detections[self.offsets[row] : self.offsets[row + 1]])

    def values(self, name: str, steps: list[int]) -> np.ndarray:
        """What array `name` holds at given steps; spikes, operations and seconds are 0 after rest, the rest stays."""
        array = getattr(self, name)
        rows = np.minimum(np.array(steps), len(array)) - 1
        result = array[rows].astype(np.float64)
        if name in ("sent", "taken_back", "sops", "seconds"):
            result[np.array(steps) > len(array)] = 0
        return result

    def save(self, path: Path) -> None:
        """Write an .npz file with its SHA-256 behind it."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **{f.name: getattr(self, f.name) for f in fields(self)})
        write_bytes(path, stream.getvalue() + hashlib.sha256(stream.getvalue()).digest())

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read a file of `save`; ValueError where it is not as it was written."""
        data = path.read_bytes()
        content, digest = data[:-32], data[-32:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError(f"'{path}' is damaged")
        with np.load(io.BytesIO(content)) as file:
            return cls(**{f.name: file[f.name] for f in fields(cls)})


@torch.no_grad()
def trace_picture(
    graph: SpikingGraph,
    image: torch.Tensor,
    original: tuple,
    ann: AnnOutput,
    variant: Variant,
    steps: list[int],
    settings: DetectionSettings,
) -> Trace:
    """Simulate one picture up to the last of `steps`, or until it rests.

    Args:
        image: (1, 3, H, W), letterboxed. original: shape (height, width, ...) of the picture it was made of.
        ann: the ANN's answer to it, with counts.
        steps: those whose detections are wanted; other steps get those of the step before.
        settings: which detections are scored, see `casc_det.evaluation.detection.scoring`; of other classes those that
            are shown are kept, too.
    """
    from casc_det.yolo.letterbox import in_original

    scored = settings.classes or ()
    others = replace(settings, conf=SHOWN, classes=tuple(c for c in range(len(graph.names)) if c not in scored))

    def boxes(readout) -> np.ndarray:
        maps, scores = decode_maps(readout, graph.strides, graph.reg_max)
        found = [detect(maps[0], scores[0], choice) for choice in (settings, others) if choice.classes]
        return np.concatenate([in_original(part, image.shape[2:], original).table() for part in found])

    wanted, rows = set(steps), {name: [] for name in BY_STEP}
    target = {name: channels_last(y) for name, y in ann.readout.items()}  # as the engine lays them out
    values, size = sum(y.numel() for y in target.values()), sum(float(norm(y, ord=1)) for y in target.values())
    tables, rest, seconds = [], 0, []
    start = perf_counter()
    simulation = variant.simulation
    limit = min(steps[-1], check_timesteps("auto", graph, simulation)) if variant.rests else steps[-1]
    for step in simulate(graph, image, limit, simulation, compare=ann.counts):
        simulated = perf_counter()
        readout = step.readout
        read = perf_counter()
        gaps = [(readout[name] - y).double() for name, y in target.items()]
        sent, taken_back = step.fired[:, :, 0].cpu().numpy().T
        match = step.match[:, 0].cpu().numpy()
        for name, value in (
            ("sent", sent),
            ("taken_back", taken_back),
            ("sops", float(step.sops[0])),
            ("more", match[:, 0]),
            ("fewer", match[:, 1]),
            ("count_gap", match[:, 2] / graph.levels),
            ("mse", sum(float(norm(gap)) ** 2 for gap in gaps) / values),
            ("relative_error", sum(float(norm(gap, ord=1)) for gap in gaps) / size),
        ):
            rows[name].append(value)
        compared = perf_counter()
        final = bool(step.quiescent.all())
        new = step.t in wanted or final or not tables
        tables.append(boxes(readout) if new else tables[-1])
        found = perf_counter()
        seconds.append(np.diff([start, simulated, read, compared, found]))
        start = found
        if final:
            rest = step.t
            break
    arrays = {name: np.array(values) for name, values in rows.items()}
    return Trace(
        **arrays,
        ann_counts=np.array([float(n.sum()) for n in ann.counts.values()]),
        rest=np.array(rest),
        detections=np.concatenate(tables),
        offsets=np.cumsum([0, *map(len, tables)]),
        ann=boxes(ann.readout),
        seconds=np.array(seconds),
    )
