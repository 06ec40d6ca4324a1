"""The work of `casc-det predict`: a source through the model, its files and `predictions.json` into a run folder."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from casc_det.api import SpikingYOLO
from casc_det.base.arguments import shown
from casc_det.base.files import write_json
from casc_det.errors import OutputError
from casc_det.prediction.outputs import Outputs, Saving
from casc_det.prediction.records import LayerTotals, record
from casc_det.yolo.results import SpikingResults
from casc_det.yolo.sources import Source

IMAGES_AND_VIDEOS = Saving()


def predict_to_folder(
    model: SpikingYOLO,
    source: object,
    folder: Path,
    progress: Callable[[SpikingResults, int | None], None],
    made_with: dict,
    saving: Saving = IMAGES_AND_VIDEOS,
    **options: Any,
) -> dict:
    """Run `model.predict` over a source and write what it finds.

    Args:
        folder: annotated images and videos and `predictions.json` go there; made with the first result.
        progress: called with (result, total number of frames or None) after each frame.
        made_with: how the model was made; noted in the JSON, with the settings of the simulation as they are in effect.
        options: those of `SpikingYOLO.predict`.

    Returns:
        The content of `predictions.json`: `{"settings", "results", "skipped", "incomplete", "unwritten",
        "interrupted"}` with what `LayerTotals` has. After Ctrl-C, and after an error that ends the run, which is raised
        again, it holds what was done until then.
    """
    vid_stride = options.pop("vid_stride", 1)
    frames = Source(source, vid_stride)
    outputs = Outputs(folder, saving, frames.is_path, taken=inside(folder, frames.files))
    records: list[dict] = []
    totals = LayerTotals()
    ended: BaseException | None = None
    try:
        for result in model.predict(frames, stream=True, **options):
            records.append({**record(result), "saved": None, "labels": None})
            totals.add(result.spiking)
            records[-1] |= outputs.write(result)
            progress(result, frames.total)
        outputs.close()
    except BaseException as error:  # also what ends the process: what was done is written first
        ended = error
        if not records and not isinstance(error, KeyboardInterrupt):
            raise
        try:
            outputs.close()
        except OSError as second:
            outputs.unwritten.append((str(folder), str(second)))
    given = str(source) if isinstance(source, str | Path | int) else shown(source)
    content = {
        "settings": {"source": given, **made_with, **vars(model.simulation), **options, "vid_stride": vid_stride},
        "results": records,
        "skipped": [{"path": path, "reason": reason} for path, reason in frames.skipped],
        "incomplete": frames.incomplete,
        "unwritten": [{"file": file, "reason": reason} for file, reason in outputs.unwritten],
        "interrupted": ended is not None,
        **totals.content(model),
    }
    write_results(folder / "predictions.json", content)
    if ended is not None and not isinstance(ended, KeyboardInterrupt):
        raise ended
    return content


def inside(folder: Path, files: list[str]) -> set[str]:
    """Those of the files that lie in a folder, as paths in it: the inputs of a run are no place for its results."""
    real = os.path.realpath(folder)
    paths = (Path(os.path.realpath(file)) for file in files)
    return {path.relative_to(real).as_posix() for path in paths if path.is_relative_to(real)}


def write_results(path: Path, content: dict) -> None:
    """Write JSON; where the disk is full, into the temporary folder.

    Raises:
        OutputError: it had to be there; the error names the file.
    """
    try:
        write_json(path, content)
    except OSError as error:
        spare = write_json(Path(tempfile.gettempdir()) / f"casc_det-{os.getpid()}-{path.name}", content)
        raise OutputError(f"{error}; the results are in '{spare}'") from error
