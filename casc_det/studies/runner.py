"""Running the cells of a study: every image is traced once in each of them, then the cell is scored."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from casc_det.base.files import hash_of, without_nan
from casc_det.base.lines import append_lines
from casc_det.base.provenance import provenance
from casc_det.base.threads import computing
from casc_det.evaluation.classes import ClassMap, match_classes
from casc_det.evaluation.coco import CocoCurve
from casc_det.evaluation.networks import scoring
from casc_det.evaluation.truth import LabelledImage, Truth
from casc_det.graph import Neuron
from casc_det.graph.zoo import find
from casc_det.simulation import first_answer, spiking_convolutions
from casc_det.simulation.cost import count_operations
from casc_det.simulation.reads import spike_audit
from casc_det.simulation.twin import ann_forward
from casc_det.studies.cells import Cell
from casc_det.studies.corruptions import corrupt
from casc_det.studies.curves import Scorer, build_result
from casc_det.studies.folder import CELLS, TRACES, trace_file
from casc_det.studies.settings import StudySettings
from casc_det.studies.traces import Trace
from casc_det.studies.tracing import trace_image
from casc_det.yolo.images import LOGGER, letterbox, read_image

VERSION = 5  # of the records in `cells.jsonl`
EXAMPLES = 6
VISIBLE = 0.02  # share of an image


@dataclass
class Study:
    """What all cells share, and how one of them is run.

    Attributes:
        truth: the images and what is in them. size: (height, width) of the network's input.
        folder: where everything goes. done: the records of all finished cells, by key.
        scorers, scores: how each cell, and each set of classes, is scored, once it was asked for.
    """

    settings: StudySettings
    truth: Truth
    size: tuple[int, int]
    folder: Path
    done: dict[str, dict] = field(default_factory=dict)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    scores: dict[tuple[int, ...], CocoCurve] = field(default_factory=dict)

    @cached_property
    def examples(self) -> list[LabelledImage]:
        """Images that are shown: spread over the data set, each the one of its part with most objects to see."""
        images = self.truth.images
        parts = np.array_split(np.arange(len(images)), min(EXAMPLES, len(images)))
        return [max((images[i] for i in part), key=visible_objects) for part in parts]

    def input(self, cell: Cell, image: LabelledImage) -> tuple[torch.Tensor, tuple[int, ...]]:
        """An image as a cell gets it, disturbed and letterboxed, (1, 3, H, W), and its shape before (height, ...)."""
        variant, graph = cell.variant, cell.graph
        pixels = corrupt(read_image(image.path).image, variant.corruption, variant.severity, str(image.key))
        boxed = letterbox(pixels, self.size, max(graph.strides), False)[None]
        return boxed.to(graph.device, graph.dtype), pixels.shape

    def make_trace(self, cell: Cell, image: LabelledImage) -> Trace:
        """Simulate an image."""
        x, shape = self.input(cell, image)
        settings = scoring(self.scorer(cell).classes)
        with computing(self.settings.threads):
            ann = ann_forward(cell.graph, x)
            return trace_image(cell.simulator, x, shape, ann, self.settings.timesteps, settings)

    def keep_trace(self, cell: Cell, image: LabelledImage) -> Path:
        """The file of the trace of an image, which is made unless it is there already."""
        file = trace_file(self.folder, cell.key, image.key)
        if not file.exists():
            self.make_trace(cell, image).save(file)
        return file

    def trace(self, cell: Cell, image: LabelledImage) -> Trace:
        """The trace of an image from its file; made again where that is damaged or absent."""
        file = self.keep_trace(cell, image)
        try:
            return Trace.load(file)
        except ValueError:
            LOGGER.warning(f"'{file}' is damaged; its picture is simulated again")
            file.unlink()
            return Trace.load(self.keep_trace(cell, image))

    def run(self, cells: list[Cell], progress: Callable[[int, int, str], None]) -> None:
        """Trace and score the cells that are not done yet; progress: called with (images done, of all, text)."""
        images, left = self.truth.images, [cell for cell in cells if cell.key not in self.done]
        if left:
            self.make_trace(left[0], images[0])  # loads the compiled loops, which is not to be timed
        for place, cell in enumerate(left):
            v = cell.variant
            text = f"{cells.index(cell) + 1}/{len(cells)} {v.network}, {v.method}, {v.disturbance}"
            for count, image in enumerate(images, place * len(images) + 1):
                self.keep_trace(cell, image)
                progress(count, len(left) * len(images), text)
            self.done[cell.key] = self.finish(cell)

    def finish(self, cell: Cell) -> dict:
        """Score a cell whose images are all traced, note it, and let go of the traces that are not shown."""
        variant, traces = cell.variant, [self.trace(cell, image) for image in self.truth.images]
        start = perf_counter()
        result = build_result(traces, self.scorer(cell))
        result["seconds"]["scoring"] = perf_counter() - start
        record = without_nan(
            {
                "key": cell.key,
                "variant": variant.values(),
                "method": variant.method,
                "result": result,
                "disturbance": variant.disturbance,
                "imgsz": list(self.size),
                "data": self.truth.name,
                "seed": 0,
                "made": made_with(cell),
                "activation": cell.activation,
                "clip": float(np.median([node.lam for node in cell.graph.of_type(Neuron)])),
                "recommended": cell.recommended,
                "reads": spike_audit(cell.graph, variant.simulation, peaks_of(cell, traces)),
            }
        )
        append_lines(self.folder / CELLS, [record])
        self.forget(cell)
        return record

    def scorer(self, cell: Cell) -> Scorer:
        """How a cell is scored: on the classes that its network knows."""
        if cell.key not in self.scorers:
            graph, classes = cell.graph, match(cell, self.truth)
            labels = tuple(i for i, name in enumerate(self.truth.names) if name not in classes.missing)
            if labels not in self.scores:
                self.scores[labels] = CocoCurve(self.truth, list(labels))
            simulation = cell.variant.simulation
            costs = (count_operations(graph, *self.size), simulation.plan(graph), first_answer(graph, simulation))
            self.scorers[cell.key] = Scorer(self.settings, classes, self.scores[labels], *costs)
        return self.scorers[cell.key]

    def forget(self, cell: Cell) -> None:
        """Remove the traces of a cell but those of the examples, which the page plays."""
        shown = {image.key for image in self.examples} if not cell.variant.severity else set()
        for image in self.truth.images:
            if image.key not in shown:
                trace_file(self.folder, cell.key, image.key).unlink(missing_ok=True)
        if not shown:
            shutil.rmtree(self.folder / TRACES / cell.key, ignore_errors=True)

    def state(self, cells: list[Cell]) -> str:
        """How much is done, in words."""
        left = [cell for cell in cells if cell.key not in self.done]
        text, size = f"{len(cells) - len(left)} of {len(cells)} cells done", len(self.truth.images)
        for cell in left[:1]:
            count = sum(trace_file(self.folder, cell.key, image.key).exists() for image in self.truth.images)
            text += f", {count} of {size} images of the next one"
        return text


def match(cell: Cell, truth: Truth) -> ClassMap:
    """From the classes of a cell's network to those of the data set."""
    return match_classes(cell.graph.names, truth.names, of=f"weights={cell.variant.weights}", mappable=False)


def visible_objects(image: LabelledImage) -> int:
    """The number of objects that take up at least 2 % of an image."""
    return int((image.areas >= VISIBLE * image.width * image.height).sum())


def peaks_of(cell: Cell, traces: list[Trace]) -> list[dict[str, float]]:
    """The largest magnitudes that the convolutions of a cell have read, by image, where they are known."""
    names = [node.name for node in spiking_convolutions(cell.graph)]
    return [dict(zip(names, trace.peaks.tolist(), strict=True)) for trace in traces if len(trace.peaks)]


def made_with(cell: Cell) -> dict:
    """Versions, weights and machine of a cell, for its record."""
    return {
        **provenance(f"casc-det study {VERSION}"),
        "numpy": np.__version__,
        "graph": cell.fingerprint,
        "file_sha256": hash_of([find(cell.variant.weights).read_bytes()]),
        "device": str(cell.graph.device),
    }
