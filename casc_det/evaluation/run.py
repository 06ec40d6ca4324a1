"""`casc-det val`: detections of every row, then the scores, on one process or on several under torchrun."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casc_det.base.files import write_json
from casc_det.base.lines import append_lines
from casc_det.base.provenance import provenance
from casc_det.errors import SourceError
from casc_det.evaluation.costs import add_costs, as_row
from casc_det.evaluation.detection import Record, detect_batch
from casc_det.evaluation.folder import LAYERS, RESULTS, TABLE, count_records, open_run, read_records, run_settings
from casc_det.evaluation.networks import Networks
from casc_det.evaluation.report import figures, write_layers, write_rows
from casc_det.evaluation.resume import data_settings, resumable
from casc_det.evaluation.scores import Rows, score
from casc_det.evaluation.settings import ValidationSettings
from casc_det.evaluation.shard import ALONE, Shard
from casc_det.evaluation.truth import LabelledImage, Truth
from casc_det.graph import SpikingGraph
from casc_det.simulation import Simulator
from casc_det.simulation.reads import spike_audit

if TYPE_CHECKING:
    from casc_det.yolo.float_network import FloatNetwork


def evaluate(
    graph: SpikingGraph,
    truth: Truth,
    settings: ValidationSettings,
    folder: Path,
    floats: "FloatNetwork | None" = None,
    shard: Shard = ALONE,
    progress: Callable[[int, int], None] = lambda done, total: None,
    resumed: bool = False,
) -> dict[str, Any] | None:
    """Run and score all rows; write `results.json` and the predictions into the run folder.

    Args:
        progress: called with (done, to do) on the first process.
        resumed: the folder holds a run that goes on; else what an old run left in it is removed.

    Returns:
        `{"settings", "rows", "problems", ...}` on the first process, None on others.

    Raises:
        ArgumentError, SourceError: an argument cannot work, or the folder holds another run.
    """
    protocol = settings.protocol_of(truth.kind)
    networks = Networks.matched(Simulator(graph, settings.simulation), floats, truth.names, settings.mapping)
    made_with = run_settings(networks, settings, protocol)
    made_with |= shard.share(lambda: data_settings(truth))
    shard.share(lambda: open_run(folder, made_with, resumed))
    total = len(truth.images)
    with resumable(folder, lambda: f"{min(count_records(folder), total)} of {total} images done"):
        records = detect_all(networks, truth, settings, folder, shard, progress)
    if shard.rank:
        return None
    if not records:
        raise SourceError("data: none of the images could be read")
    rows, outcomes = score(truth, records, networks.maps, protocol, settings.bootstrap, folder)
    add_costs(rows, records, networks.simulator, settings.energy)
    machine = {"device": str(graph.device), "processes": shard.size, "processor": platform.machine()}
    content: dict[str, Any] = {
        "settings": {
            **made_with,
            "pictures": len(records),
            "energy": vars(settings.energy),
            "bootstrap": settings.bootstrap,
            "machine": {**provenance("casc-det val 1"), **machine},
            "folder": str(folder),
        },
        **findings(networks, truth, settings, records, rows),
    }
    write_json(folder / RESULTS, content)
    write_rows(folder / TABLE, content)
    write_layers(folder / LAYERS, content["rows"])
    if failed := figures(truth, records, networks.maps, outcomes, content["rows"][-1]["layers"], folder):
        content["problems"] = [*truth.problems, *failed]
        write_json(folder / RESULTS, content)
    return content


def findings(
    networks: Networks, truth: Truth, settings: ValidationSettings, records: list[Record], rows: Rows
) -> dict[str, Any]:
    """The content of `results.json` but its settings."""
    peaks = [record["cost"][row]["peaks"] for record in records for row in settings.rows]
    return {
        "rows": [as_row(name, values) for name, values in rows.items()],
        "reads": spike_audit(networks.graph, networks.simulator.settings, peaks),
        "classes_not_in_model": list(networks.maps["snn"].missing),
        "classes_not_in_data": list(networks.maps["snn"].unused),
        "problems": truth.problems,
        "damaged": truth.damaged,
        "images": [image.key for image in truth.images],
    }


def detect_all(
    networks: Networks,
    truth: Truth,
    settings: ValidationSettings,
    folder: Path,
    shard: Shard,
    progress: Callable[[int, int], None],
) -> list[Record]:
    """The records of all images in the order of `truth`, on the first process; those of the run folder are kept.

    Images that cannot be read are named in `truth.problems` and taken out of it.
    """
    known = read_records(folder, truth.problems.append) if shard.rank == 0 else {}
    done = set(shard.share(lambda: list(known)))
    mine = [image for image in truth.images if image.key not in done][shard.rank :: shard.size]
    fresh: list[Record] = []
    problems: list[str] = []
    for start in range(0, len(mine), settings.batch):
        records = detect_readable(networks, mine[start : start + settings.batch], settings, problems.append)
        append_lines(folder / f"detections.{shard.rank}.jsonl", records)
        fresh += records
        if shard.rank == 0:
            progress(len(fresh), len(mine))
    for records, named in shard.gather((fresh, problems)):
        known |= {record["key"]: record for record in records}
        truth.problems += named
        truth.damaged += len(named)
    if shard.rank:
        return []
    truth.images = [image for image in truth.images if image.key in known]
    return [known[image.key] for image in truth.images]


def detect_readable(
    networks: Networks, images: list[LabelledImage], settings: ValidationSettings, problem: Callable[[str], None]
) -> list[Record]:
    """The records of those images of a batch that can be read; `problem` is told of the others."""
    try:
        return list(detect_batch(networks, images, settings))
    except SourceError as error:
        if len(images) == 1:
            problem(f"{Path(images[0].path).name}: {error}; skipped")
            return []
    return [record for image in images for record in detect_readable(networks, [image], settings, problem)]
