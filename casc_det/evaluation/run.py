"""`casc-det val`: detections of every row, then the scores, on one process or on several under torchrun."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from casc_det import __version__
from casc_det.engine import check_timesteps
from casc_det.errors import ArgumentError, CascError, SourceError
from casc_det.evaluation.bootstrap import bootstrap_gap, picture_aps
from casc_det.evaluation.classes import ClassMap, match_classes
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.detection import Plan, append_records, detect_batch, read_records
from casc_det.evaluation.energy import EnergyModel, energy_mj
from casc_det.evaluation.truth import Truth
from casc_det.evaluation.voc import evaluate_voc
from casc_det.files import run_folder, write_json
from casc_det.graph import SpikingGraph
from casc_det.operations import count_operations

PROTOCOLS = ("coco", "voc07", "voc12")
SETTINGS, RESULTS = "settings.json", "results.json"
EXAMPLES = 6
ENERGY = EnergyModel()


@dataclass(frozen=True)
class Shard:
    """This process among those that torchrun started; one alone without it."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def join(device: torch.device) -> "Shard":
        """Join the process group that torchrun describes in the environment, if there is one."""
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return Shard()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=12))
        return Shard(dist.get_rank(), dist.get_world_size())

    def share(self, make: Callable):
        """The value of `make()` on the first process, on all of them; its CascError, too."""
        if self.size == 1:
            return make()
        box = [None, None]
        if self.rank == 0:
            try:
                box = [make(), None]
            except CascError as error:
                box = [None, error]
        dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def gather(self, value) -> list:
        """The values of all processes on the first one, an empty list elsewhere."""
        if self.size == 1:
            return [value]
        values = [None] * self.size if self.rank == 0 else None
        dist.gather_object(value, values)
        return values or []


def check_rows(timesteps, graph: SpikingGraph) -> tuple[int | str, ...]:
    """The rows of the spiking network: whole numbers and "auto", each once, in the order given."""
    if isinstance(timesteps, str):
        parts = [part.strip() for part in timesteps.split(",")]
        timesteps = [int(part) if part.lstrip("-").isdigit() else part for part in parts if part]
    elif isinstance(timesteps, int):
        timesteps = [timesteps]
    for t in timesteps:
        check_timesteps(t, graph)
    if not timesteps:
        raise ArgumentError("timesteps: expected whole numbers above 0 or 'auto', comma-separated, got nothing")
    return tuple(dict.fromkeys(timesteps))


def fingerprint(graph: SpikingGraph) -> str:
    """A hash of everything in a graph that its answers depend on."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(f"{type(node).__name__} {node.name} {node.inputs}".encode())
        for value in vars(node).values():
            tensor = isinstance(value, torch.Tensor)
            digest.update(value.cpu().contiguous().numpy().tobytes() if tensor else repr(value).encode())
    return digest.hexdigest()


def detect_all(graph, floats, truth: Truth, plan: Plan, folder: Path, batch: int, shard: Shard, progress) -> list[dict]:
    """The records of all pictures in the order of `truth`, on the first process; those of the run folder are kept.

    Args:
        progress: called with (done, to do) on the first process.
    """
    from casc_det.yolo.data import picture_size  # noqa: F401  (prepares Ultralytics on every process)

    known = read_records(folder) if shard.rank == 0 else None
    done = shard.share(lambda: list(known))
    left = [picture for picture in truth.pictures if picture.key not in set(done)]
    mine = left[shard.rank :: shard.size]
    file, fresh, problems = folder / f"detections.{shard.rank}.jsonl", [], []
    shape = lambda picture: (picture.width, picture.height) if plan.rect else None
    for _, same in groupby(mine, key=shape):
        same = list(same)
        for start in range(0, len(same), batch):
            group = same[start : start + batch]
            try:
                records = list(detect_batch(graph, floats, group, plan))
            except SourceError:  # a picture that cannot be read: one by one, to name it
                records = []
                for picture in group:
                    try:
                        records += detect_batch(graph, floats, [picture], plan)
                    except SourceError as error:
                        problems.append(f"{Path(picture.path).name}: {error}; skipped")
            append_records(file, records)
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
    truth.pictures = [picture for picture in truth.pictures if picture.key in known]
    return [known[picture.key] for picture in truth.pictures]


def mapped(record: dict, classes: ClassMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, scores, labels) of one row of a picture in the labels of the data set."""
    labels = classes.label_of[np.array(record["labels"], dtype=np.int64)]
    kept = labels >= 0
    boxes = np.array(record["boxes"], dtype=np.float64).reshape(-1, 4)
    return boxes[kept], np.array(record["scores"], dtype=np.float64)[kept], labels[kept]


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
        found = [mapped(record["rows"][row], classes) for record in records]
        predictions = to_results(truth, found)
        file = f"predictions_{row.replace(' ', '_')}.json"
        write_json(folder / file, predictions)
        if protocol == "coco":
            values, by_class, outcomes[row] = evaluate_coco(truth, predictions, scored)
        else:
            aps, outcomes[row] = evaluate_voc(truth.pictures, found, scored)
            mean = {key: float(np.nanmean(list(ap.values()))) for key, ap in aps.items()}
            values = {"mAP50-95": mean["50-95"], "mAP50": mean[protocol]}
            values |= {"mAP50 VOC07": mean["voc07"], "mAP50 VOC12": mean["voc12"]}
            by_class = {truth.names[label]: ap for label, ap in aps[protocol].items()}
        rows[row] = {**values, "classes": by_class, "predictions": file}
    gaps = bootstrap_gap({r: o for r, o in outcomes.items() if r != "float"}, "ann", draws) if draws else {}
    alone = picture_aps(outcomes["ann"], len(records)) if draws else None
    for row, gap in gaps.items():
        rows[row]["gap_to_ann"] = rows[row]["mAP50-95"] - rows["ann"]["mAP50-95"]
        rows[row]["gap_95"] = list(gap)
        difference = picture_aps(outcomes[row], len(records)) - alone
        rows[row]["picture_ap_minus_ann"] = [None if np.isnan(d) else float(d) for d in difference]
    return rows, outcomes


def add_costs(rows: dict, records: list[dict], graph: SpikingGraph, energy: EnergyModel) -> None:
    """Add what each row costs, as means over pictures, to `rows`."""
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
            "neurons_different": int(np.sum([c["neurons_different"] for c in costs])),
            "same_boxes": float(np.mean([c["same_boxes"] for c in costs])),
        }


def as_row(name: str, values: dict) -> dict:
    """One entry of `rows` in results.json."""
    network, _, t = name.partition(" ")
    return {"network": network, "timesteps": int(t) if t.isdigit() else t or None, **values}


def start_folder(project: str | None, name: str, exist_ok: bool, resume: str | Path | None) -> Path:
    """The run folder: that of `resume`, or a fresh one; with `exist_ok` what an old run left in it is removed."""
    if resume:
        if not (Path(resume) / SETTINGS).is_file():
            raise ArgumentError(f"resume: '{resume}' is no run folder of casc-det val")
        return Path(resume).absolute()
    folder = run_folder(project, name, exist_ok)
    for old in (*folder.glob("detections.*.jsonl"), folder / SETTINGS, folder / RESULTS):
        old.unlink(missing_ok=True)
    return folder


def check_resumed(folder: Path, settings: dict) -> None:
    """Raise where a run folder was made with other settings; a fresh one gets them written."""
    file = folder / SETTINGS
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
        return
    try:
        old = json.loads(file.read_text())
    except ValueError:
        raise SourceError(f"resume: '{file}' is damaged; start a new run") from None
    for key, value in json.loads(json.dumps(settings)).items():
        if old.get(key) != value:
            raise ArgumentError(
                f"resume: the run in '{folder}' has {key}={old.get(key)!r}, not {value!r}; start a new one"
            )


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
) -> dict | None:
    """Run and score all rows; write `results.json` and the predictions into the run folder.

    Returns:
        `{"settings", "rows", "problems", ...}` on the first process, None on others.

    Raises:
        ArgumentError, SourceError: an argument cannot work, or the folder holds another run.
    """
    if protocol not in PROTOCOLS:
        raise ArgumentError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    shard = shard or Shard()
    weight = next(node.weight for node in graph.nodes if hasattr(node, "weight"))
    maps = {"snn": match_classes(graph.names, truth.names, mapping)}
    if floats is not None:
        maps["float"] = match_classes(floats.names, truth.names, mapping)
        if maps["float"].missing != maps["snn"].missing:
            raise ArgumentError("against: the float network knows other classes of the data set than the spiking one")
    settings = {"graph": fingerprint(graph), "data": truth.name, "pictures": len(truth.pictures), "protocol": protocol}
    settings |= {"timesteps": plan.timesteps, "imgsz": plan.imgsz, "rect": plan.rect, "float": floats is not None}
    settings |= {"dtype": str(weight.dtype).removeprefix("torch."), "levels": graph.levels}
    shard.share(lambda: check_resumed(folder, settings))
    records = detect_all(graph, floats, truth, plan, folder, batch, shard, progress)
    if shard.rank:
        return None
    if not records:
        raise SourceError("data: none of the pictures could be read")
    rows, outcomes = score(truth, records, maps, protocol, bootstrap, folder)
    add_costs(rows, records, graph, energy)
    machine = {"device": str(weight.device), "threads": torch.get_num_threads(), "processes": shard.size}
    machine |= {"processor": platform.machine(), "torch": torch.__version__, "casc_det": __version__}
    content = {
        "settings": {
            **settings,
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
    }
    figures(truth, records, maps, rows, outcomes, folder)
    write_json(folder / RESULTS, content)
    return content


def figures(truth: Truth, records: list[dict], maps: dict[str, ClassMap], rows: dict, outcomes: dict, folder: Path):
    """Precision-recall curves, confusion matrix of the last row, and a page of example pictures."""
    from casc_det.draw import board, draw_boxes, panel, write_picture
    from casc_det.plots import SHOWN_SCORE, confusion, plot_confusion, plot_precision_recall, save_figure
    from casc_det.yolo.sources import read_picture

    last = list(rows)[-1]
    found = {row: [mapped(r["rows"][row], maps["snn"]) for r in records] for row in ("ann", last)}
    save_figure(plot_precision_recall(outcomes), folder / "precision_recall.png")
    matrix = confusion(truth.pictures, found[last], len(truth.names))
    save_figure(plot_confusion(matrix, truth.names, last), folder / "confusion.png")
    panels = []
    for i in np.unique(np.linspace(0, len(records) - 1, EXAMPLES).astype(int)):
        picture = truth.pictures[i]
        image = read_picture(picture.path).image
        drawn = draw_boxes(image, picture.boxes, picture.labels, truth.names)
        panels.append(
            panel(drawn, f"{Path(picture.path).stem}: ground truth", f"objects: {len(picture.boxes)}", width=420)
        )
        for row, values in found.items():
            boxes, scores, labels = (part[values[i][1] > SHOWN_SCORE] for part in values[i])
            drawn = draw_boxes(image, boxes, labels, truth.names, scores)
            panels.append(
                panel(drawn, row.replace("snn", "SNN, T =").replace("ann", "ANN"), f"boxes: {len(boxes)}", width=420)
            )
    write_picture(folder / "examples.png", board(panels))


def limited(truth: Truth, limit: int | None) -> Truth:
    """The first `limit` pictures."""
    return truth if limit is None else replace(truth, pictures=truth.pictures[:limit])
