"""The folder of a study: `study.json` says which study it is, `cells.jsonl` holds its cells, `traces` what is begun."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casc_det.base.files import safe_name, write_json
from casc_det.base.folders import locked, run_folder
from casc_det.base.lines import read_lines
from casc_det.errors import ArgumentError, SourceError
from casc_det.evaluation.resume import check_settings, read_settings
from casc_det.studies.cells import Cell
from casc_det.studies.records import completed
from casc_det.studies.settings import StudySettings
from casc_det.yolo.images import LOGGER

SETTINGS, CELLS, TRACES = "study.json", "cells.jsonl", "traces"


def trace_file(folder: Path, cell: str, image: int | str) -> Path:
    """Where the trace of an image, by its key, lies in a cell, by its key."""
    return folder / TRACES / cell / f"{safe_name(image)}.npz"


def graphs_of(cells: list[Cell]) -> dict[str, str]:
    """Fingerprints of the graphs, by weights and levels as given."""
    return {f"{cell.variant.weights} {cell.variant.levels}".strip(): cell.fingerprint for cell in cells}


@contextmanager
def fresh_folder(settings: StudySettings, content: dict, cells: list[Cell]) -> Iterator[Path]:
    """A run folder for a new study; with `exist_ok` without the study that it holds.

    Args:
        content: what the numbers of the study depend on, for `study.json`.
    """
    with run_folder(settings.project, settings.name or "study", settings.exist_ok) as folder:
        remove_study(folder)
        write_json(folder / SETTINGS, content | {"graphs": graphs_of(cells)})
        yield folder


@contextmanager
def resumed_folder(resume: str | Path, content: dict, cells: list[Cell]) -> Iterator[Path]:
    """The folder of a study that goes on; its new graphs are noted there.

    Raises:
        ArgumentError: it holds no study, or another one. SourceError: its settings are damaged.
    """
    folder, graphs = Path(resume).absolute(), graphs_of(cells)
    with locked(folder):
        old = read_settings(folder / SETTINGS, "study")
        check_settings(old, content, "study", folder)
        if not isinstance(old.get("graphs"), dict):
            raise SourceError(f"resume: '{folder / SETTINGS}' is damaged; start a new study")
        for name, value in graphs.items():
            if old["graphs"].get(name, value) != value:
                weights = name.rpartition(" ")[0]
                raise ArgumentError(
                    f"resume: in the study in '{resume}' weights={weights} was another network; start a new one"
                )
        write_json(folder / SETTINGS, old | {"graphs": old["graphs"] | graphs})
        yield folder


def remove_study(folder: Path) -> None:
    """Remove what an old study left in a folder that a new one gets; all else in it stays."""
    if not (folder / SETTINGS).exists():
        return
    from casc_det.studies.report import FILES

    for file in (SETTINGS, CELLS, *FILES):
        (folder / file).unlink(missing_ok=True)
    shutil.rmtree(folder / TRACES, ignore_errors=True)


def read_cells(folder: Path) -> dict[str, dict]:
    """The finished cells of a study by key; lines that are damaged are named and left out."""
    file = folder / CELLS
    return {record["key"]: completed(record) for record in read_lines(file, LOGGER.warning)} if file.exists() else {}
