"""Results as JSON values, and in words."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from casc_det.api import SpikingYOLO
from casc_det.evaluation.costs import layer_costs
from casc_det.simulation.reads import spike_audit
from casc_det.simulation.step import SpikingInfo
from casc_det.yolo.results import SpikingResults


@dataclass
class LayerTotals:
    """What the layers of a network did for all results together, see `SpikingInfo`."""

    spikes: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    sops: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def add(self, info: SpikingInfo | None) -> None:
        """Add a result; None is that of an ANN."""
        if info is None:
            return
        self.spikes.update(info.layer_spikes)
        self.messages.update(info.layer_messages)
        self.sops = {name: sops + self.sops.get(name, 0.0) for name, sops in info.layer_sops.items()}
        self.peaks = {name: max(peak, self.peaks.get(name, 0.0)) for name, peak in info.peaks.items()}

    def content(self, model: SpikingYOLO) -> dict[str, Any]:
        """`{"layers", "layer_sops", "reads"}`, JSON values: neuron layers, convolutions, and what the latter read."""
        settings = model.simulation
        costs = layer_costs(self.spikes, self.messages, settings.plan(model.graph).burst)
        reads = spike_audit(model.graph, settings, [self.peaks] if self.peaks else ())
        return {"layers": costs, "layer_sops": self.sops, "reads": reads}


def record(result: SpikingResults) -> dict:
    """One result as JSON values; boxes are xyxy pixels of the original image.

    `frame` counts all frames of a video from 1, `time` is in seconds from its start; both are null for an image.
    `spiking` is what the answer cost in all, without its layers.
    """
    found = result.boxes
    assert found is not None, "a detector's results have boxes"
    columns = zip(found.xyxy.tolist(), found.conf.tolist(), found.cls.tolist(), strict=True)
    boxes = [
        {"name": result.names[int(label)], "class": int(label), "confidence": score, "box": xyxy}
        for xyxy, score, label in columns
    ]
    height, width = result.orig_shape
    info = result.spiking
    spiking = info and {key: value for key, value in vars(info).items() if not isinstance(value, dict)}
    place = {"path": result.path, "frame": result.frame, "time": result.time, "width": width, "height": height}
    summary = result.verbose().strip().rstrip(",") if len(result) else "no boxes"
    return {**place, "summary": summary, "boxes": boxes, "spiking": spiking}


def count_boxes(number: int) -> str:
    """`1 box`, `2 boxes`."""
    return f"{number} box" if number == 1 else f"{number} boxes"
