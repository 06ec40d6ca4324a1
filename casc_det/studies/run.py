"""`casc-det study`: run the grid, resumably; then the figures, tables and the page."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from casc_det import __version__
from casc_det.errors import ArgumentError, OutputError, SourceError
from casc_det.evaluation.resume import data_settings, resumable
from casc_det.evaluation.truth import Truth, limited, read_truth
from casc_det.graph.zoo import find
from casc_det.simulation import check_exact, check_timesteps
from casc_det.studies.cells import Cell, CellLoader
from casc_det.studies.folder import fresh_folder, read_cells, resumed_folder
from casc_det.studies.runner import VERSION, Study, match
from casc_det.studies.settings import StudySettings, settings_of
from casc_det.studies.variants import make_grid
from casc_det.yolo.images import LOGGER, check_imgsz, read_image

OF_DATA = (".json", ".yaml", ".yml")  # files that are given as data=, never as weights=


def study(
    weights: object = None,
    data: str | Path | None = None,
    settings: StudySettings | None = None,
    resume: str | Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    **fields: Any,
) -> tuple[Path, list[dict]]:
    """Simulate every image once in each cell of the grid, score every time step, draw and report.

    Args:
        weights: spiking graphs, files or names, comma-separated; default: the shipped detector.
        data: COCO `instances_*.json`, VOC folder, or dataset YAML.
        settings: time steps, axes of the grid, sizes, folder, ...; its fields may also be given by name:
            `study(data=..., timesteps="1..64", neurons="cif,if", imgsz=320)`.
        resume: folder of a study to go on with; finished cells are kept, new ones are added.
        progress: called with (images done, of all, text) after each image.

    Returns:
        The folder, and the records of all cells of the grid as in `cells.jsonl`: `{"variant", "result", "made", ...}`.

    Raises:
        ArgumentError, SourceError, WeightsError: an argument cannot work, or the folder holds another study.
    """
    if data is None:
        if isinstance(weights, str | Path) and (Path(weights).suffix in OF_DATA or Path(weights).is_dir()):
            raise ArgumentError(f"data: missing; '{weights}' is given as weights= but looks like data: write data=...")
        raise ArgumentError("data: missing; give a COCO instances_*.json, a VOC folder or a dataset YAML")
    settings = settings_of(settings, fields)
    grid = make_grid(weights or find(None).stem, settings)
    truth = limited(read_truth(data, settings.images, settings.split), settings.limit)
    leave_out_unreadable(truth)
    loader = CellLoader(settings.timesteps[-1], settings.device)
    cells = [loader.load(variant) for variant in grid]
    first = cells[0].graph
    size = check_imgsz(first.imgsz if settings.imgsz is None else settings.imgsz, max(first.strides))
    for cell in cells:  # every cell can be run, before the first one is
        check_cell(cell, settings.timesteps[-1], truth)
    cells = distinct(cells)
    with open_folder(settings, truth, size, cells, resume) as folder:
        job = Study(settings, truth, size, folder, read_cells(folder))
        return folder, run_and_report(job, cells, loader, progress)


def open_folder(
    settings: StudySettings, truth: Truth, size: tuple[int, int], cells: list[Cell], resume: str | Path | None
) -> AbstractContextManager[Path]:
    """A run folder for this study, or that of `resume` if it is the same study."""
    content = {"version": VERSION, "casc_det": __version__, "timesteps": settings.timesteps, "imgsz": size}
    content |= {"policies": list(map(str, settings.policies)), "energy": vars(settings.energy), **data_settings(truth)}
    return resumed_folder(resume, content, cells) if resume else fresh_folder(settings, content, cells)


def run_and_report(
    job: Study, cells: list[Cell], loader: CellLoader, progress: Callable[[int, int, str], None]
) -> list[dict]:
    """The records of all cells of the grid; also figures, tables and the page, where they are wanted."""
    try:
        with resumable(job.folder, lambda: job.state(cells)):
            job.run(cells, progress)
        asked = {cell.key: job.done[cell.key] | {"variant": cell.variant.values()} for cell in cells}
        records = list(asked.values())
        if job.settings.report:
            from casc_det.studies.report import write_report

            others = [record for key, record in job.done.items() if key not in asked]
            for problem in write_report(job, loader, records + renamed(others, records)):
                LOGGER.warning(problem)
    except OutputError as error:
        raise OutputError(f"study: {error}; finished cells are kept, go on with resume={job.folder}") from error
    return records


def leave_out_unreadable(truth: Truth) -> None:
    """Take images that cannot be read out of a data set and name them, before the hours of simulation.

    Raises:
        SourceError: none can be read.
    """
    readable = []
    for image in truth.images:
        try:
            read_image(image.path)
            readable.append(image)
        except SourceError as error:
            truth.problems.append(f"{Path(image.path).name}: {error}; skipped")
            truth.damaged += 1
    if not readable:
        raise SourceError(f"data: none of the images can be read; the last is {truth.problems[-1]}")
    truth.images = readable


def check_cell(cell: Cell, last: int, truth: Truth) -> None:
    """Raise where a cell cannot be run up to step `last`, or nothing could be measured.

    Raises:
        ArgumentError: too many steps, or classes that do not fit. SourceError: no object of a known class.
    """
    simulation = cell.variant.simulation
    check_timesteps(last, cell.graph)
    check_timesteps("auto", cell.graph, simulation)
    check_exact(cell.graph, last, simulation)
    label_of = match(cell, truth).label_of
    known = np.unique(label_of[label_of >= 0])
    if not any((np.isin(image.labels, known) & ~image.crowd & ~image.difficult).any() for image in truth.images):
        raise SourceError(
            f"data: '{truth.name}' has no object of a class that the network knows, so no accuracy can be studied; "
            "give a data set with objects (casc-det val runs without, too)"
        )


def distinct(cells: list[Cell]) -> list[Cell]:
    """The cells without those that are there already; one network under two names is studied once."""
    kept: dict[str, Cell] = {}
    for cell in cells:
        first, own = kept.setdefault(cell.key, cell).variant.weights, cell.variant.weights
        if first != own:
            LOGGER.warning(f"weights: '{own}' is the same network as '{first}'; it is studied once")
    return list(kept.values())


def renamed(records: list[dict], asked: list[dict]) -> list[dict]:
    """Finished cells that were not asked for, under the name that their network has now."""
    names = {record["made"]["graph"]: record["variant"]["weights"] for record in asked}
    new = [names.get(record["made"]["graph"], record["variant"]["weights"]) for record in records]
    return [r | {"variant": {**r["variant"], "weights": name}} for r, name in zip(records, new, strict=True)]
