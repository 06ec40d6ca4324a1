"""The work of `casc-det demo`: the boxes of the ANN and of the spiking network over time, side by side in one image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from casc_det.api import SpikingYOLO
from casc_det.base.files import write_json
from casc_det.evaluation.report import write_layers
from casc_det.heads.detect.detections import Detections, difference
from casc_det.prediction.records import LayerTotals, count_boxes, record
from casc_det.show.images import board, panel, write_image
from casc_det.yolo.results import SpikingResults
from casc_det.yolo.sources import Source

EQUAL = 1e-6  # pixels, or score: what float64 may differ by at quiescence


@dataclass(frozen=True)
class DemoReport:
    """What the demo found.

    Attributes:
        steps: one record (see `record`) for each time step. ann: the ANN's.
        difference: the largest absolute difference of box corners (pixels) and scores between the last step and the
            ANN, None where the boxes are not the same objects.
        image: the board that was written. reads: what the convolutions read, see `spike_audit`.
    """

    steps: list[dict]
    ann: dict
    difference: float | None
    image: Path
    reads: dict[str, Any]


def demo_to_folder(
    model: SpikingYOLO,
    source: object,
    folder: Path,
    progress: Callable[[SpikingResults], None],
    timesteps: int | str = "auto",
    **options: Any,
) -> DemoReport:
    """Compare the ANN with the spiking network at every time step; write `demo.png`, `demo.json`, `layers.csv`.

    Args:
        source: one image, see `SpikingYOLO.predict`.
        progress: called with each result, after its time step.
        options: conf, iou, imgsz.
    """
    wake = model.simulation.plan(model.graph).input_steps
    shown = {max(wake // 2, 1), wake, wake + max(wake // 4, 1), wake + max(wake // 2, 1)}
    image = Source(source).single("demo")
    ann = model.ann(image, **options)
    steps, drawn, result = [], [], ann
    for result in model.anytime(image, timesteps, **options):
        steps.append(record(result))
        if result.spiking and result.spiking.timesteps in shown:
            drawn.append(result)
        progress(result)
    if result not in drawn:
        drawn.append(result)
    totals = LayerTotals()
    totals.add(result.spiking)
    expected = record(ann)
    difference = box_difference(steps[-1], expected)
    functions = ", ".join(model.graph.functions)
    title = f"ANN ({'CQReLU' if functions == 'relu' else f'CQ {functions}'})"
    panels = [panel(ann.plot(), title, count_boxes(len(ann)))]
    panels += [step_panel(result, wake, None) for result in drawn[:-1]]
    panels.append(step_panel(drawn[-1], wake, verdict(difference), difference is not None and difference <= EQUAL))
    file = write_image(folder / "demo.png", board(panels))
    settings = {"source": str(source), "timesteps": timesteps, **options, **vars(model.simulation)}
    content = {"settings": settings, "ann": expected, "steps": steps, **totals.content(model)}
    write_json(folder / "demo.json", content)
    write_layers(folder / "layers.csv", [{"network": "snn", "timesteps": len(steps), **content}])
    return DemoReport(steps, expected, difference, file, content["reads"])


def step_panel(result: SpikingResults, wake: int, ending: str | None, good: bool = False) -> np.ndarray:
    """The panel of one time step; ending: how its boxes compare with the ANN's, for the last one."""
    info = result.spiking
    assert info is not None, "it is the answer of a spiking network"
    phase = "wake" if info.timesteps <= wake else "quiescent" if info.quiescent else "sleep"
    sent = f"{info.spikes / 1e6:.1f} M spikes in {info.messages / 1e6:.1f} M messages"
    note = f"{count_boxes(len(result))}, {sent}" + (f": {ending}" if ending else "")
    return panel(result.plot(), f"SNN  T = {info.timesteps}  ({phase})", note, good)


def verdict(difference: float | None) -> str:
    """How boxes compare with the ANN's, from their `box_difference`."""
    if difference is None:
        return "not the ANN's objects"
    return "equal to the ANN's" if difference <= EQUAL else f"the ANN's objects, off by up to {difference:.2g}"


def box_difference(first: dict, second: dict) -> float | None:
    """The largest absolute difference of corners and scores of two records, None where number or classes differ."""
    rows = ([(*box["box"], box["confidence"], box["class"]) for box in record["boxes"]] for record in (first, second))
    gap = difference(*(Detections.of_table(np.array(table).reshape(-1, 6)) for table in rows))
    return None if gap is None else max(gap)
