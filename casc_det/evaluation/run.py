"""`casc-det val`: detections of every row, then the scores, on one process or on several under torchrun."""

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from casc_det import __version__
from casc_det.base.files import write_json, write_text
from casc_det.base.folders import locked, run_folder
from casc_det.base.kinds import STEPS_LIST
from casc_det.base.lines import append_lines, read_lines
from casc_det.errors import ArgumentError, SourceError
from casc_det.evaluation.bootstrap import bootstrap_gap, check_draws, image_aps
from casc_det.evaluation.classes import ClassMap, few, mapped, match_classes
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.detection import Plan, detect_batch, scoring
from casc_det.evaluation.energy import EnergyModel, energy_mj
from casc_det.evaluation.report import figures, write_csv
from casc_det.evaluation.resume import (
    data_settings,
    fingerprint,
    fingerprint_network,
    keep_settings,
    read_settings,
    resumable,
)
from casc_det.evaluation.shard import Shard
from casc_det.evaluation.truth import Truth
from casc_det.evaluation.voc import evaluate_voc
from casc_det.graph import SpikingGraph
from casc_det.heads.detect.detections import Detections
from casc_det.simulation import check_timesteps
from casc_det.simulation.cost import count_operations

PROTOCOLS = ("coco", "voc07", "voc12")
SETTINGS, RESULTS, TABLE = "settings.json", "results.json", "results.csv"
ENERGY = EnergyModel()


def check_rows(timesteps, graph: SpikingGraph) -> tuple[int | str, ...]:
    """The rows of the spiking network: integers, ranges such as "5..8" and "auto", each once, in the order given."""
    if isinstance(timesteps, str):
        timesteps = STEPS_LIST.value("timesteps", timesteps)
    elif isinstance(timesteps, int):
        timesteps = [timesteps]
    for t in timesteps:
        check_timesteps(t, graph)
    if not timesteps:
        raise ArgumentError("timesteps: expected whole numbers above 0 or 'auto', comma-separated, got nothing")
    return tuple(dict.fromkeys(timesteps))


def detect_all(graph, floats, truth: Truth, plan: Plan, folder: Path, batch: int, shard: Shard, progress) -> list[dict]:
    """The records of all images in the order of `truth`, on the first process; those of the run folder are kept.

    Args:
        progress: called with (done, to do) on the first process.
    """
    known = read_records(folder, truth.problems.append) if shard.rank == 0 else None
    done = shard.share(lambda: list(known))
    left = [image for image in truth.images if image.key not in set(done)]
    mine = left[shard.rank :: shard.size]
    file, fresh, problems = folder / f"detections.{shard.rank}.jsonl", [], []
    for start in range(0, len(mine), batch):
        group = mine[start : start + batch]
        try:
            records = list(detect_batch(graph, floats, group, plan))
        except SourceError:  # an image that cannot be read: one by one, to name it
            records = []
            for image in group:
                try:
                    records += detect_batch(graph, floats, [image], plan)
                except SourceError as error:
                    problems.append(f"{Path(image.path).name}: {error}; skipped")
        append_lines(file, records)
        fresh += records
        if shard.rank == 0:
            progress(len(fresh), len(mine))
    gathered = shard.gather((fresh, problems))
    if shard.rank:
        return []
    for records, named in gathered:
        known.update({record["key"]: record for record in records})
        truth.problems += named
        truth.damaged += len(named)
    truth.images = [image for image in truth.images if image.key in known]
    return [known[image.key] for image in truth.images]


def score(truth: Truth, records: list[dict], maps: dict[str, ClassMap], protocol: str, draws: int, folder: Path):
    """Score every row; write its predictions.

    Args:
        maps: "float" and "snn" -> class map; the ANN uses that of "snn".

    Returns:
        row name -> {"mAP50-95", "mAP50", ..., "classes": {name: AP}, "predictions": file}, and row name -> outcomes of
        the detections of each class.
    """
    scored = [i for i in range(len(truth.names)) if truth.names[i] not in maps["snn"].missing]
    rows, outcomes = {}, {}
    for row in records[0]["rows"]:
        classes = maps["float" if row == "float" else "snn"]
        found = [mapped(Detections.of_record(record["rows"][row]), classes) for record in records]
        predictions = to_results(truth, found)
        file = f"predictions_{row.replace(' ', '_')}.json"
        write_text(folder / file, json.dumps(predictions))
        same = next((r for r in rows if all(record["rows"][r] == record["rows"][row] for record in records)), None)
        if same and same != "float":
            rows[row], outcomes[row] = {**rows[same], "predictions": file}, outcomes[same]
            continue
        if protocol == "coco":
            values, by_class, outcomes[row] = evaluate_coco(truth, predictions, scored)
        else:
            aps, outcomes[row] = evaluate_voc(truth.images, found, scored)
            mean = {key: mean_of_known(ap.values()) for key, ap in aps.items()}
            values = {"mAP50-95": mean["50-95"], "mAP50": mean[protocol]}
            values |= {"mAP50 VOC07": mean["voc07"], "mAP50 VOC12": mean["voc12"]}
            by_class = {truth.names[label]: ap for label, ap in aps[protocol].items()}
        rows[row] = {**values, "classes": by_class, "predictions": file}
    gaps = bootstrap_gap({r: o for r, o in outcomes.items() if r != "float"}, "ann", draws) if draws else {}
    alone = image_aps(outcomes["ann"], len(records)) if draws else None
    for row, gap in gaps.items():
        rows[row]["gap_to_ann"] = rows[row]["mAP50-95"] - rows["ann"]["mAP50-95"]
        rows[row]["gap_95"] = list(gap)
        difference = image_aps(outcomes[row], len(records)) - alone
        rows[row]["picture_ap_minus_ann"] = [None if np.isnan(d) else float(d) for d in difference]
    return rows, outcomes


def mean_of_known(values) -> float:
    """The mean without NaN; NaN where nothing is left."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def add_costs(rows: dict, records: list[dict], graph: SpikingGraph, energy: EnergyModel) -> None:
    """Add what each row costs, as means over images, to `rows`."""
    operations = {size: count_operations(graph, *size) for size in {tuple(r["input"]) for r in records}}
    for row, values in rows.items():
        costs = [record["cost"][row] for record in records]
        work = [operations[tuple(record["input"])] for record in records]
        values["seconds"] = float(np.mean([c["seconds"] for c in costs]))
        if row == "ann":
            macs = float(np.mean([w.ann_macs for w in work]))
            values |= {"macs": macs, "energy_mJ": energy_mj(macs, 0, energy)}
        if not row.startswith("snn"):
            continue
        macs = float(np.mean([w.snn_macs(c["timesteps"], graph.levels) for w, c in zip(work, costs, strict=True)]))
        layers = {name: float(np.mean([c["sops"].get(name, 0.0) for c in costs])) for name in costs[0]["sops"]}
        sops = sum(layers.values())
        different = [c["neurons_different"] for c in costs]
        updates = float(np.mean([w.neurons * c["timesteps"] for w, c in zip(work, costs, strict=True)]))
        values |= {
            "spikes": float(np.mean([c["spikes"] for c in costs])),
            "sops": sops,
            "macs": macs,
            "energy_mJ": energy_mj(macs, sops, energy),
            "neuron_updates": updates,
            "neuron_energy_mJ": energy_mj(0, updates, energy),
            "layer_sops": layers,
            "steps_mean": float(np.mean([c["timesteps"] for c in costs])),
            "quiescent": float(np.mean([c["quiescent"] for c in costs])),
            "difference_mean": float(np.mean([c["difference_mean"] for c in costs])),
            "difference_max": float(np.max([c["difference_max"] for c in costs])),
            "neurons_different": None if None in different else sum(different),
            "same_boxes": float(np.mean([c["same_boxes"] for c in costs])),
        }


def as_row(name: str, values: dict) -> dict:
    """One entry of `rows` in results.json."""
    network, _, t = name.partition(" ")
    return {"network": network, "timesteps": int(t) if t.isdigit() else t or None, **values}


@contextmanager
def start_folder(project: str | None, name: str, exist_ok: bool, resume: str | Path | None) -> Iterator[Path]:
    """The run folder: that of `resume`, or a fresh one; with `exist_ok` it may hold an old run."""
    if resume:
        read_settings(Path(resume) / SETTINGS, "val")
        with locked(Path(resume).absolute()):
            yield Path(resume).absolute()
        return
    with run_folder(project, name, exist_ok) as folder:
        yield folder


def open_run(folder: Path, settings: dict, resumed: bool) -> None:
    """Note the settings of a fresh run, in place of what an old one left in the folder, or check those of `resumed`."""
    made = ("detections.*.jsonl", "predictions_*.json", SETTINGS, RESULTS, TABLE)
    for old in () if resumed else (file for pattern in made for file in folder.glob(pattern)):
        old.unlink()
    keep_settings(folder / SETTINGS, settings, "val", resumed)


def read_records(folder: Path, damaged) -> dict:
    """The records of a run folder by image key; damaged: see `read_lines`."""
    files = sorted(folder.glob("detections.*.jsonl"))
    return {record["key"]: record for file in files for record in read_lines(file, damaged)}


def count_records(folder: Path) -> int:
    """How many images a run folder has records of; its files are not touched, other processes may write to them."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("detections.*.jsonl"))


def run_settings(graph: SpikingGraph, plan: Plan, floats, protocol: str, maps: dict[str, ClassMap]) -> dict:
    """Everything but the data that the numbers of a run depend on, as JSON values."""
    labels = {name: [kind.label_of.tolist(), kind.missing] for name, kind in maps.items()}
    settings = {"casc_det": __version__, "dtype": str(graph.dtype).removeprefix("torch."), "graph": fingerprint(graph)}
    settings |= {"float": floats is not None, "against": fingerprint_network(floats) if floats is not None else None}
    settings |= {"levels": graph.levels, "integer": graph.integer, "timesteps": plan.timesteps, "imgsz": plan.imgsz}
    how = plan.simulation
    settings |= {"rect": plan.rect, "hysteresis": how.hysteresis, "delay": how.delay, "engine": how.engine}
    settings |= {"device": graph.device.type, "protocol": protocol}
    return settings | {"classes": hashlib.sha256(json.dumps(labels).encode()).hexdigest()}


def evaluate(
    graph: SpikingGraph,
    truth: Truth,
    plan: Plan,
    folder: Path,
    floats=None,
    protocol: str = "coco",
    mapping: dict[str, str] | None = None,
    batch: int = 1,
    bootstrap: int = 1000,
    energy: EnergyModel = ENERGY,
    shard: Shard | None = None,
    progress=lambda done, total: None,
    resumed: bool = False,
) -> dict | None:
    """Run and score all rows; write `results.json` and the predictions into the run folder.

    Args:
        resumed: the folder holds a run that goes on; else what an old run left in it is removed.

    Returns:
        `{"settings", "rows", "problems", ...}` on the first process, None on others.

    Raises:
        ArgumentError, SourceError: an argument cannot work, or the folder holds another run.
    """
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    check_draws(bootstrap)
    shard = shard or Shard()
    maps = {"snn": match_classes(graph.names, truth.names, mapping)}
    if floats is not None:
        maps["float"] = match_classes(floats.names, truth.names, mapping, "against=")
        if maps["float"].missing != maps["snn"].missing:
            only = [name for name in truth.names if (name in maps["float"].missing) != (name in maps["snn"].missing)]
            raise ArgumentError(
                "against: the float network knows other classes of the data set than the spiking one "
                f"({few(only)} only one of them)"
            )
    settings = run_settings(graph, plan, floats, protocol, maps)
    settings |= shard.share(lambda: data_settings(truth))
    shard.share(lambda: open_run(folder, settings, resumed))
    plan = replace(plan, scoring=scoring(maps["snn"]), float_scoring=scoring(maps.get("float", maps["snn"])))
    total = len(truth.images)
    with resumable(folder, lambda: f"{min(count_records(folder), total)} of {total} images done"):
        records = detect_all(graph, floats, truth, plan, folder, batch, shard, progress)
    if shard.rank:
        return None
    if not records:
        raise SourceError("data: none of the pictures could be read")
    rows, outcomes = score(truth, records, maps, protocol, bootstrap, folder)
    add_costs(rows, records, graph, energy)
    machine = {"device": str(graph.device), "threads": torch.get_num_threads(), "processes": shard.size}
    machine |= {"processor": platform.machine(), "torch": torch.__version__, "casc_det": __version__}
    content = {
        "settings": {
            **settings,
            "pictures": len(records),
            "energy": vars(energy),
            "bootstrap": bootstrap,
            "machine": machine,
            "folder": str(folder),
        },
        "rows": [as_row(name, values) for name, values in rows.items()],
        "classes_not_in_model": list(maps["snn"].missing),
        "classes_not_in_data": list(maps["snn"].unused),
        "problems": truth.problems,
        "damaged": truth.damaged,
        "images": [image.key for image in truth.images],
    }
    write_json(folder / RESULTS, content)
    write_csv(folder / TABLE, content)
    if failed := figures(truth, records, maps, rows, outcomes, folder):
        content["problems"] = [*content["problems"], *failed]
        write_json(folder / RESULTS, content)
    return content


def limited(truth: Truth, limit: int | None) -> Truth:
    """The first `limit` images."""
    return truth if limit is None else replace(truth, images=truth.images[:limit])
