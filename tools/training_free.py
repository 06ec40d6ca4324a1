"""What a float detector is worth as a spiking one without training: accuracy, time steps, spikes and energy.

    python tools/training_free.py weights=yolov8n.safetensors images=calibration/ data=coco/annotations/val.json
        [model=yolov8n.yaml] [names=data/coco.yaml] [levels=64,32,16] [burst=1,4,8,16] [ramp=false,true]
        [imgsz=320,640] [limit=213] [threads=2] [project=runs/training-free]

Converts the detector with each of `levels` (`casc-det convert data=images`), scores it, the float network and its ANN
(`casc-det val`), and simulates it with each burst, without and with the ramp rule (`casc-det study`). A command that
was stopped goes on where it was: what lies in `project` is kept. All figures are put together in `training-free.json`
there, and as tables in `training-free.md`.
"""

import json
import sys
from pathlib import Path

from lists import listed
from measure import run
from record_tables import training_free
from update_tables import VARYING

from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options

OPTIONS = {
    "model": None,
    "names": None,
    "levels": (64, 32, 16),
    "burst": (1, 4, 8, 16),
    "ramp": "false,true",
    "imgsz": (320, 640),
}
OPTIONS |= {"limit": None, "threads": 2, "project": "runs/training-free"}
CASC_DET = [sys.executable, "-m", "casc_det"]


def study_steps(levels: list[int], bursts: list[int]) -> str:
    """Every step where most is known early, then fewer and fewer, up to 4 times the longest wake."""
    last, steps = 4 * -(-max(levels) // min(bursts)), list(range(1, 25))
    while steps[-1] < last:
        steps.append(steps[-1] + max(steps[-1] // 8, 1))
    return ",".join(map(str, steps))


def jobs(options: dict) -> list[tuple[Path, list]]:
    """(file or folder of the result, command) of all that is to be done."""
    project, given = options["project"], {key: options[key] for key in ("limit", "threads") if options[key] is not None}
    same = [f"data={options['data']}", *(f"{key}={value}" for key, value in given.items())]
    files = {q: project / f"{Path(options['weights']).stem}-cq{q}.safetensors" for q in options["levels"]}
    result = []
    for q, file in files.items():
        words = ["convert", f"weights={options['weights']}", f"data={options['images']}", f"levels={q}", f"out={file}"]
        words += [f"{key}={options[key]}" for key in ("model", "names") if options[key]]
        result.append((file, words))
    for size in options["imgsz"]:
        for q, file in files.items():
            words = [
                "val",
                f"weights={file}",
                f"against={options['weights']}",
                f"imgsz={size}",
                "timesteps=auto",
                *same,
            ]
            result.append((project / f"val-{q}-{size}", words))
        axes = [f"burst={','.join(map(str, options['burst']))}", f"ramp={options['ramp']}"]
        words = ["study", f"weights={','.join(map(str, files.values()))}", f"imgsz={size}", *axes]
        words += [f"timesteps={study_steps(options['levels'], options['burst'])}", "policies=quiescent", *same]
        result.append((project / f"study-{size}", words))
    return result


def do(place: Path, words: list) -> None:
    """Run a command whose result is not there yet; one that was stopped goes on."""
    ended = {"val": place / "results.json", "study": place / "summary.json"}.get(words[0], place)
    if ended.exists():
        return
    if words[0] != "convert":
        begun = (place / "settings.json").exists() or (place / "study.json").exists()
        words = [*words, f"resume={place}"] if begun else [*words, f"project={place.parent}", f"name={place.name}"]
        words += [] if begun else ["exist_ok=true"]
    run([*CASC_DET, *words])


def collected(options: dict) -> dict:
    """What the files hold, without what depends on single images."""
    networks, cells = [], []
    for size in options["imgsz"]:
        for q in options["levels"]:
            content = json.loads((options["project"] / f"val-{q}-{size}" / "results.json").read_text())
            rows = [{key: value for key, value in row.items() if key not in VARYING} for row in content["rows"]]
            networks.append({"imgsz": size, "levels": q, "graph": content["settings"]["graph"], "rows": rows})
        summary = json.loads((options["project"] / f"study-{size}" / "summary.json").read_text())
        cells += [{"imgsz": size, **cell} for cell in summary["cells"]]
    settings = {key: str(options[key]) for key in OPTIONS if key != "project"}
    settings |= {key: Path(options[key] or "").name for key in ("weights", "images", "data", "names")}
    return {"settings": settings, "networks": networks, "cells": cells, "made": provenance("training-free 1")}


def main(words: list[str]) -> None:
    options = OPTIONS | script_options(words, __doc__, "weights", "images", "data")
    if unknown := set(options) - {*OPTIONS, "weights", "images", "data"}:
        sys.exit(f"training_free: unknown: {', '.join(sorted(unknown))}; see --help")
    for key in ("levels", "burst", "imgsz"):
        options[key] = listed(options[key])
    for key in ("weights", "images", "data", "project", *(["names"] if options["names"] else [])):
        options[key] = Path(options[key]).absolute()
    options["project"].mkdir(parents=True, exist_ok=True)
    for place, command in jobs(options):
        do(place, command)
    content = collected(options)
    write_json(options["project"] / "training-free.json", content)
    text = training_free(content)
    (options["project"] / "training-free.md").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
