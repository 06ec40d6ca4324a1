"""Everything that one image gives in one variant: all time steps of one simulation, as arrays in one file."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from casc_det.base.files import write_bytes
from casc_det.heads.detect.detections import Detections
from casc_det.heads.detect.settings import DetectionSettings

SHOWN = DetectionSettings.conf  # score from which boxes are shown: what the policies look at, whatever the class
OF_A_STEP = ("sent", "taken_back", "messages", "sops", "seconds")  # nothing of them after rest


@dataclass
class Trace:
    """T steps of one image; L neuron layers; step t is row t - 1. After rest the last row stands for all later ones.

    Attributes:
        sent, taken_back: (T, L) unit spikes of each layer in each step. messages: (T, L) neurons that sent any.
        sops: (T,) synaptic operations of each step.
        more, fewer: (T, L) neurons whose rate is above or below the ANN's; count_gap: (T, L) sum of the differences of
            the counts, in spikes. ann_counts: (L,) sum of the ANN's, by magnitude.
        mse, relative_error: (T,) of the readout against the ANN's: mean squared difference, and mean absolute
            difference over the ANN's mean absolute value.
        rest: step at which the network was seen to be at rest; 0: it was not.
        peaks: (convolutions that read spikes,) the largest magnitude that each has read; empty: it is not known.
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
    messages: np.ndarray
    peaks: np.ndarray

    def at(self, t: int) -> Detections:
        """The detections after step t."""
        row = min(t, len(self.sops)) - 1
        return Detections.of_table(self.detections[self.offsets[row] : self.offsets[row + 1]])

    def at_rest(self, t: int) -> bool:
        """Whether the network is at rest after step t."""
        return bool(0 < self.rest <= t)

    def values(self, name: str, steps: Sequence[int]) -> np.ndarray:
        """What array `name` holds at given steps; spikes, operations and seconds are 0 after rest, the rest stays."""
        array, t = getattr(self, name), np.array(steps)
        result = array[np.minimum(t, len(array)) - 1].astype(np.float64)
        if name in OF_A_STEP:
            result[t > len(array)] = 0
        return result

    def save(self, path: Path) -> None:
        """Write an .npz file with its SHA-256 behind it."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **vars(self))
        write_bytes(path, stream.getvalue() + hashlib.sha256(stream.getvalue()).digest())

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """Read a file of `save`; ValueError where it is not as it was written."""
        data = path.read_bytes()
        content, digest = data[:-32], data[-32:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError(f"'{path}' is damaged")
        with np.load(io.BytesIO(content)) as file:
            arrays = dict(file)
        if "messages" not in arrays:  # of the first studies, which knew unit spikes alone
            arrays |= {"messages": arrays["sent"] + arrays["taken_back"], "peaks": np.zeros(0)}
        return cls(**arrays)
