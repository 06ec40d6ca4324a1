"""`casc-det study`: run the grid, resumably; then the figures, tables and the page."""

import hashlib
import logging
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from casc_det import __version__
from casc_det.base.arguments import check_counts, check_flags, check_texts
from casc_det.base.device import check_device
from casc_det.base.files import safe_name, without_nan, write_json
from casc_det.base.folders import locked, run_folder
from casc_det.base.lines import append_lines, read_lines
from casc_det.base.threads import check_threads, computing
from casc_det.conversion.integer import to_integer, with_levels
from casc_det.errors import ArgumentError, OutputError, SourceError, WeightsError
from casc_det.evaluation.classes import ClassMap, match_classes
from casc_det.evaluation.coco import CocoCurve
from casc_det.evaluation.energy import EnergyModel
from casc_det.evaluation.networks import scoring
from casc_det.evaluation.resume import data_settings, fingerprint, keep_settings, read_settings, resumable
from casc_det.evaluation.truth import LabelledImage, Truth, limited, read_truth
from casc_det.graph import SpikingGraph, moved
from casc_det.graph.file import load_graph
from casc_det.graph.zoo import find
from casc_det.heads.policies import read_policy
from casc_det.simulation import check_exact, check_timesteps, exact_dtype, first_answer
from casc_det.simulation.cost import count_operations
from casc_det.simulation.twin import ann_forward
from casc_det.studies.cells import build_cell
from casc_det.studies.corruptions import corrupt
from casc_det.studies.traces import Trace, trace_picture
from casc_det.studies.variants import Variant, listed, make_grid, read_timesteps

LOGGER = logging.getLogger("casc_det")
VERSION = 5
SETTINGS, CELLS, TRACES = "study.json", "cells.jsonl", "traces"
EXAMPLES = 6
VISIBLE = 0.02
ENERGY = EnergyModel()
POLICIES = "quiescent,boxes-stable(2),boxes-stable(4),confident(0.5)"


class Study:
    """What all cells share.

    Attributes:
        truth: the pictures and what is in them. steps: the time steps of the curves. size: (height, width).
        folder: where everything goes. threads: see `casc_det.base.threads`.
    """

    def __init__(self, truth: Truth, steps: list[int], size: tuple[int, int], policies: list, energy: EnergyModel):
        self.truth, self.steps, self.size, self.policies, self.energy = truth, steps, size, policies, energy
        self.folder, self.threads = Path(), "auto"
        self.graphs: dict[tuple, SpikingGraph] = {}
        self.fingerprints: dict[tuple, str] = {}
        self.curves: dict[tuple, CocoCurve] = {}

    def graph(self, variant: Variant, device="cpu") -> SpikingGraph:
        """The integer graph of a variant; a real-valued one is rounded. Its dtype holds all steps exactly."""
        key = (variant.weights, variant.levels, variant.neuron, variant.schedule)
        if key not in self.graphs:
            graph = load_graph(find(variant.weights), torch.float64)
            graph = to_integer(with_levels(graph, variant.levels or graph.levels))
            dtype = exact_dtype(graph, self.steps[-1], variant.simulation)
            self.graphs[key] = moved(graph, dtype, device)
            self.fingerprints[variant.weights, variant.levels] = fingerprint(graph)
        return self.graphs[key]

    def fingerprint(self, variant: Variant) -> str:
        """A hash of what the graph of a variant holds."""
        self.graph(variant)
        return self.fingerprints[variant.weights, variant.levels]

    def key(self, variant: Variant) -> str:
        """The name of a cell: it tells contents apart, not paths."""
        return variant.key(self.fingerprint(variant))

    def at_hand(self, record: dict) -> bool:
        """Whether the graph that a cell was made with is still where it was."""
        variant = Variant(**record["variant"])
        try:
            return self.fingerprint(variant) == record["made"]["graph"]
        except WeightsError:
            return False

    def examples(self) -> list[LabelledImage]:
        """Pictures that are shown: spread over the data set, each the one of its part with most objects to see."""
        parts = np.array_split(np.arange(len(self.truth.images)), min(EXAMPLES, len(self.truth.images)))
        return [max((self.truth.images[i] for i in part), key=visible_objects) for part in parts]

    def trace_file(self, variant: Variant, picture: LabelledImage) -> Path:
        return self.folder / TRACES / self.key(variant) / f"{safe_name(picture.key)}.npz"

    def trace(self, variant: Variant, picture: LabelledImage) -> Trace:
        """The trace of a picture from its file; made again where that is damaged or absent."""
        file = self.trace_file(variant, picture)
        trace_one(self, variant, picture)
        try:
            return Trace.load(file)
        except ValueError:
            LOGGER.warning(f"'{file}' is damaged; its picture is simulated again")
            file.unlink()
            trace_one(self, variant, picture)
            return Trace.load(file)

    def classes(self, variant: Variant) -> ClassMap:
        """From the classes of a variant's graph to those of the data set."""
        return match_classes(
            self.graph(variant).names, self.truth.names, of=f"weights={variant.weights}", mappable=False
        )

    def score(self, classes: ClassMap) -> CocoCurve:
        """mAP50-95 and mAP50 of the detections of all pictures, by pycocotools."""
        labels = tuple(i for i, name in enumerate(self.truth.names) if name not in classes.missing)
        if labels not in self.curves:
            self.curves[labels] = CocoCurve(self.truth, list(labels))
        return self.curves[labels]


def leave_out_unreadable(truth: Truth) -> None:
    """Take images that cannot be read out of a data set and name them, before the hours of simulation."""
    from casc_det.yolo.images import read_image

    readable = []
    for picture in truth.images:
        try:
            read_image(picture.path)
            readable.append(picture)
        except SourceError as error:
            truth.problems.append(f"{Path(picture.path).name}: {error}; skipped")
            truth.damaged += 1
    if not readable:
        raise SourceError(f"data: none of the images can be read; the last is {truth.problems[-1]}")
    truth.images = readable


def check_objects(truth: Truth, classes: ClassMap) -> None:
    """Raise SourceError where there is nothing that accuracy could be measured on."""
    known = np.unique(classes.label_of[classes.label_of >= 0])
    if not any((np.isin(p.labels, known) & ~p.crowd & ~p.difficult).any() for p in truth.images):
        raise SourceError(
            f"data: '{truth.name}' has no object of a class that the network knows, so no accuracy can be studied; "
            "give a data set with objects (casc-det val runs without, too)"
        )


def visible_objects(picture: LabelledImage) -> int:
    """The number of objects that take up at least 2 % of a picture."""
    return int((picture.areas >= VISIBLE * picture.width * picture.height).sum())


def study(
    weights=None,
    data=None,
    timesteps="1..64",
    neurons="cif",
    schedule="wsc",
    hysteresis=0,
    delay=0,
    corruptions="none",
    severities=(1, 2, 3),
    levels=(0,),
    policies=POLICIES,
    images=None,
    split: str = "val",
    imgsz: int | tuple[int, int] | None = None,
    limit: int | None = None,
    device="cpu",
    threads: int | str = "auto",
    energy: EnergyModel = ENERGY,
    project: str | None = None,
    name: str | None = None,
    exist_ok: bool = False,
    resume: str | Path | None = None,
    report: bool = True,
    progress=lambda done, total, text: None,
) -> tuple[Path, list[dict]]:
    """Simulate every picture once in each cell of the grid, score every time step, draw and report.

    Args:
        weights: spiking graphs, files or names, comma-separated; default: the shipped detector.
        data, images, split: the data set, see `casc_det.evaluation.truth.read_truth`.
        timesteps: `1..64` or `8,16,32`, in rising order. policies: see `heads.policies`, comma-separated.
        neurons, schedule, hysteresis, delay, corruptions, severities, levels: axes of the grid, see `make_grid`.
        imgsz: default: that of the first graph. limit: the first so many pictures. threads: see `base.threads`.
        exist_ok: write into the folder `name` even if it exists; a study in it is replaced.
        resume: folder of a study to go on with; finished cells are kept, new ones are added.
        report: make figures, tables and the page of all cells in the folder, too.
        progress: called with (done, total, text) after each picture.

    Returns:
        The folder, and the records of all cells of the grid as in `cells.jsonl`: `{"variant", "result", "made", ...}`.

    Raises:
        ArgumentError, SourceError, WeightsError: an argument cannot work, or the folder holds another study.
    """
    from casc_det.yolo.letterbox import check_imgsz

    if data is None:
        raise ArgumentError("data: missing; give a COCO instances_*.json, a VOC folder or a dataset YAML")
    check_texts(project=project, name=name)
    check_flags(exist_ok=exist_ok)
    check_threads(threads)
    if limit is not None:
        check_counts(limit=limit)
    grid = make_grid(weights or find(None).stem, neurons, schedule, hysteresis, delay, corruptions, severities, levels)
    chosen, device = [read_policy(part, "policies") for part in listed("policies", policies)], check_device(device)
    steps, truth = read_timesteps(timesteps), limited(read_truth(data, images, split), limit)
    leave_out_unreadable(truth)
    it = Study(truth, steps, (0, 0), chosen, energy)
    it.threads = threads
    graphs = [it.graph(variant, device) for variant in grid]
    first = graphs[0]
    it.size = check_imgsz(first.imgsz if imgsz is None else imgsz, max(first.strides))
    for variant, graph in zip(grid, graphs, strict=True):  # every cell can be run, before the first one is
        check_timesteps(steps[-1], graph)
        check_timesteps("auto", graph, variant.simulation)
        check_exact(graph, steps[-1], variant.simulation)
        check_objects(truth, it.classes(variant))
    grid = distinct(it, grid)
    with open_folder(it, grid, project, name, resume, exist_ok) as it.folder:
        return it.folder, run_and_report(it, grid, report, progress)


def run_and_report(it: Study, grid: list[Variant], report: bool, progress) -> list[dict]:
    """The records of all cells of the grid; with `report` also figures, tables and the page."""
    done = read_cells(it.folder)
    try:
        with resumable(it.folder, lambda: state_of(it, grid, done)):
            run_cells(it, grid, done, progress)
        records = [done[it.key(variant)] | {"variant": asdict(variant)} for variant in grid]
        if report:
            from casc_det.studies.report import write_report

            others = [record for key, record in done.items() if key not in map(it.key, grid)]
            for problem in write_report(it, records + renamed(others, records)):
                LOGGER.warning(problem)
    except OutputError as error:
        raise OutputError(f"study: {error}; finished cells are kept, go on with resume={it.folder}") from error
    return records


def distinct(it: Study, grid: list[Variant]) -> list[Variant]:
    """The cells of the grid; one network under two names is studied once."""
    cells: dict[str, Variant] = {}
    for variant in grid:
        first = cells.setdefault(it.key(variant), variant)
        if first.weights != variant.weights:
            LOGGER.warning(f"weights: '{variant.weights}' is the same network as '{first.weights}'; it is studied once")
    return list(cells.values())


def renamed(records: list[dict], asked: list[dict]) -> list[dict]:
    """Finished cells that were not asked for, under the name that their network has now."""
    names = {record["made"]["graph"]: record["variant"]["weights"] for record in asked}
    new = [names.get(record["made"]["graph"], record["variant"]["weights"]) for record in records]
    return [r | {"variant": {**r["variant"], "weights": name}} for r, name in zip(records, new, strict=True)]


def run_cells(it: Study, grid: list[Variant], done: dict[str, dict], progress) -> None:
    """Trace and score the cells that are not done yet; their records are added to `done`."""
    pictures = it.truth.images
    count, total = 0, sum(len(pictures) for variant in grid if it.key(variant) not in done)
    for number, variant in enumerate(grid, 1):
        if it.key(variant) in done:
            continue
        if count == 0:
            trace_of(it, variant, pictures[0])  # loads the compiled loops, which is not to be timed
        text = f"{number}/{len(grid)} {variant.network}, {variant.method}, {variant.disturbance}"
        for picture in pictures:
            count += 1
            trace_one(it, variant, picture)
            progress(count, total, text)
        done[it.key(variant)] = finish_cell(it, variant)


def state_of(it: Study, grid: list[Variant], done: dict[str, dict]) -> str:
    """How much of a grid is done, in words."""
    finished = sum(it.key(variant) in done for variant in grid)
    text, size = f"{finished} of {len(grid)} cells done", len(it.truth.images)
    begun = [variant for variant in grid if it.key(variant) not in done][:1]
    counts = [sum(it.trace_file(variant, picture).exists() for picture in it.truth.images) for variant in begun]
    return text + "".join(f", {count} of {size} images of the next one" for count in counts)


@contextmanager
def open_folder(it: Study, grid: list[Variant], project, name, resume, exist_ok: bool) -> Iterator[Path]:
    """A run folder, with `exist_ok` without the study that it holds; or that of `resume` if its settings are the same
    and its networks hold the same."""
    graphs = {f"{variant.weights} {variant.levels}".strip(): it.fingerprint(variant) for variant in grid}
    settings = {"version": VERSION, "casc_det": __version__, "timesteps": it.steps, "imgsz": list(it.size)}
    settings |= {"policies": list(map(str, it.policies)), "energy": vars(it.energy), **data_settings(it.truth)}
    if not resume:
        with run_folder(project, name or "study", exist_ok) as folder:
            remove_study(folder)
            keep_settings(folder / SETTINGS, settings | {"graphs": graphs}, "study", False)
            yield folder
        return
    folder = Path(resume).absolute()
    read_settings(folder / SETTINGS, "study")
    with locked(folder):
        check_resumed(folder, settings, graphs, resume)
        yield folder


def remove_study(folder: Path) -> None:
    """Remove what an old study left in a folder that a new one gets; all else in it stays."""
    if not (folder / SETTINGS).exists():
        return
    from casc_det.studies.report import CAPTIONS, PAGE, TABLES

    for file in (
        SETTINGS,
        CELLS,
        PAGE,
        *TABLES,
        *(f"{name}{suffix}" for name in CAPTIONS for suffix in (".png", ".pdf")),
    ):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / TRACES, ignore_errors=True)


def check_resumed(folder: Path, settings: dict, graphs: dict[str, str], resume) -> None:
    """Hold a study that goes on against the settings of its folder, and note its new graphs there.

    Raises:
        ArgumentError: it is another study. SourceError: the settings are damaged.
    """
    keep_settings(folder / SETTINGS, settings, "study", True)
    old = read_settings(folder / SETTINGS, "study")
    if not isinstance(old.get("graphs"), dict):
        raise SourceError(f"resume: '{folder / SETTINGS}' is damaged; start a new study")
    for name, value in graphs.items():
        if old["graphs"].get(name, value) != value:
            weights = name.rpartition(" ")[0]
            raise ArgumentError(
                f"resume: in the study in '{resume}' weights={weights} was another network; start a new one"
            )
    write_json(folder / SETTINGS, old | {"graphs": old["graphs"] | graphs})


def read_cells(folder: Path) -> dict[str, dict]:
    """The finished cells of a study by key; lines that are damaged are named and left out."""
    file = folder / CELLS
    return {record["key"]: record for record in read_lines(file, LOGGER.warning)} if file.exists() else {}


def trace_one(it: Study, variant: Variant, picture: LabelledImage) -> None:
    """Trace a picture unless its file is there already."""
    file = it.trace_file(variant, picture)
    if not file.exists():
        trace_of(it, variant, picture).save(file)


def trace_of(it: Study, variant: Variant, picture: LabelledImage) -> Trace:
    from casc_det.yolo.images import read_image
    from casc_det.yolo.letterbox import letterbox

    graph = it.graph(variant)
    frame = read_image(picture.path)
    image = corrupt(frame.image, variant.corruption, variant.severity, str(picture.key))
    x = letterbox(image, it.size, max(graph.strides), False)[None].to(graph.device, graph.dtype)
    settings = scoring(it.classes(variant))
    with computing(it.threads):
        return trace_picture(graph, x, image.shape, ann_forward(graph, x), variant, it.steps, settings)


def finish_cell(it: Study, variant: Variant) -> dict:
    """Score a variant whose pictures are all traced, note it, and let go of what is not shown."""
    graph = it.graph(variant)
    traces = [it.trace(variant, picture) for picture in it.truth.images]
    operations = [count_operations(graph, *it.size)] * len(traces)
    classes = it.classes(variant)
    start = perf_counter()
    result = build_cell(
        traces,
        operations,
        graph.levels,
        operations[0].layers,
        first_answer(graph, variant.simulation),
        it.steps,
        it.policies,
        classes,
        it.score(classes),
        it.energy,
    )
    result["seconds"]["scoring"] = perf_counter() - start
    record = {"key": it.key(variant), "variant": asdict(variant), "method": variant.method, "result": result}
    record |= {"disturbance": variant.disturbance, "imgsz": list(it.size), "data": it.truth.name, "seed": 0}
    record["made"] = {
        "casc_det": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "graph": it.fingerprint(variant),
        "file_sha256": hashlib.sha256(find(variant.weights).read_bytes()).hexdigest(),
        "machine": platform.machine(),
        "device": str(graph.device),
        "threads": torch.get_num_threads(),
    }
    record = without_nan(record)
    append_lines(it.folder / CELLS, [record])
    shown = {picture.key for picture in it.examples()} if not variant.severity else set()
    for picture in it.truth.images:
        if picture.key not in shown:
            it.trace_file(variant, picture).unlink(missing_ok=True)
    if not shown:
        shutil.rmtree(it.folder / TRACES / it.key(variant), ignore_errors=True)
    return record
