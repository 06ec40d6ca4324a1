"""Training from scratch: how far is CQReLU behind the SiLU of plain Ultralytics, with the same budget?

    python tools/scratch.py data=bccd.yaml [model=yolov8n.yaml] [levels=8,16] [epochs=60] [imgsz=320]
        [project=runs/scratch] [out=scratch.json]

Each network is trained in a folder of its own, all with Ultralytics' defaults and without weights to start from; one
whose folder has all epochs is not trained again. Written are the mAP of the best epoch on `val` (by mAP50-95), and the
curve of each.
"""

import csv
import json
import platform
import sys
from pathlib import Path

import casc_det.yolo  # noqa: F401  prepares Ultralytics
from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.training.run import train

METRIC = "metrics/mAP50(B)", "metrics/mAP50-95(B)"


def curve(folder: Path) -> list[list[float]]:
    """[mAP50, mAP50-95] after each epoch so far."""
    file = folder / "results.csv"
    if not file.exists():
        return []
    with file.open() as lines:
        return [[float(row[key]) for key in METRIC] for row in csv.DictReader(lines, skipinitialspace=True)]


def run(name: str, levels: int | None, options: dict, project: Path) -> list[list[float]]:
    """The curve of one network, which is trained unless it has been."""
    if len(done := curve(project / name)) >= options["epochs"]:
        return done
    settings = {**options, "project": str(project), "name": name, "exist_ok": True, "plots": False}
    if levels:
        train(levels=levels, **settings)
    else:
        from ultralytics import YOLO

        YOLO(settings.pop("model")).train(**settings)
    return curve(project / name)


def main(words: list[str]) -> None:
    options = {"model": "yolov8n.yaml", "levels": [8, 16], "epochs": 60, "imgsz": 320, "cache": "ram"}
    options |= script_options(words, __doc__)
    if "data" not in options:
        sys.exit(f"scratch: data is missing; see the top of {__file__}")
    project, out = Path(options.pop("project", "runs/scratch")).absolute(), options.pop("out", "scratch.json")
    levels = [int(q) for q in str(options.pop("levels")).strip("[]()").split(",")]
    rows = []
    for name, q in (("silu", None), *((f"q{q}", q) for q in levels)):
        points = run(name, q, dict(options), project)
        best = max(points, key=lambda point: point[1])
        rows.append({"network": name, "levels": q, "mAP50": best[0], "mAP50-95": best[1], "curve": points})
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "curve"}), flush=True)
    settings = {**options, "data": Path(options["data"]).stem}
    machine = {**provenance("scratch 1"), "processor": platform.machine()}
    write_json(out, {"settings": settings, "machine": machine, "rows": rows})


if __name__ == "__main__":
    main(sys.argv[1:])
