"""The run folder of a validation: its settings, and the records of its images as lines of JSON, a file each process.

A line that a kill cut short is dropped when the run goes on, and its image is done again.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from casc_det import __version__
from casc_det.base.files import hash_of, write_json
from casc_det.base.folders import locked, run_folder
from casc_det.base.lines import read_lines
from casc_det.evaluation.networks import Networks
from casc_det.evaluation.resume import check_settings, fingerprint_network, read_settings
from casc_det.evaluation.settings import ValidationSettings
from casc_det.graph.file import fingerprint

SETTINGS, RESULTS, TABLE, LAYERS = "settings.json", "results.json", "results.csv", "layers.csv"
RECORDS, PREDICTIONS = "detections.*.jsonl", "predictions_*.json"


@contextmanager
def start_folder(project: str | None, name: str, exist_ok: bool, resume: str | Path | None) -> Iterator[Path]:
    """The run folder: that of `resume`, or a fresh one; with `exist_ok` it may hold an old run.

    Raises:
        ArgumentError, SourceError: `resume` is no run folder. OutputError: it cannot be made, or is in use.
    """
    if resume:
        read_settings(Path(resume) / SETTINGS, "val")
        with locked(Path(resume).absolute()):
            yield Path(resume).absolute()
        return
    with run_folder(project, name, exist_ok) as folder:
        yield folder


def open_run(folder: Path, settings: dict, resumed: bool) -> None:
    """Note the settings of a fresh run, in place of what an old one left in the folder, or check those of `resumed`.

    Raises:
        ArgumentError: the run that is to go on was made with other settings.
    """
    if resumed:
        check_settings(read_settings(folder / SETTINGS, "val"), settings, "val", folder)
        return
    for pattern in (RECORDS, PREDICTIONS, SETTINGS, RESULTS, TABLE, LAYERS):
        for old in folder.glob(pattern):
            old.unlink()
    write_json(folder / SETTINGS, settings)


def read_records(folder: Path, damaged: Callable[[str], None]) -> dict[int | str, dict]:
    """The records of a run folder by image key; damaged: see `read_lines`."""
    files = sorted(folder.glob(RECORDS))
    return {record["key"]: record for file in files for record in read_lines(file, damaged)}


def count_records(folder: Path) -> int:
    """How many images a run folder has records of; its files are not touched, other processes may write to them."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob(RECORDS))


def run_settings(networks: Networks, settings: ValidationSettings, protocol: str) -> dict[str, Any]:
    """Everything but the data that the numbers of a run depend on, as JSON values."""
    graph, floats = networks.graph, networks.floats
    labels = {name: [kind.label_of.tolist(), kind.missing] for name, kind in networks.maps.items()}
    return {
        "casc_det": __version__,
        "dtype": str(graph.dtype).removeprefix("torch."),
        "graph": fingerprint(graph),
        "float": floats is not None,
        "against": None if floats is None else fingerprint_network(floats),
        "levels": graph.levels,
        "integer": graph.integer,
        "timesteps": settings.timesteps,
        "imgsz": settings.imgsz,
        "rect": settings.rect,
        **vars(networks.simulator.settings),
        "device": graph.device.type,
        "protocol": protocol,
        "classes": hash_of([json.dumps(labels)]),
    }
