"""The recipe of the shipped COCO detectors, from a float detector and images to integer graphs.

    python tools/recipe.py data=images teacher=float.safetensors [names=data/coco.yaml] [levels=16,8] [size=1]
        [model=yolov8n.yaml] [project=runs/recipe] [out=weights] [any other argument of train, for all stages]

`data` is a dataset YAML, or folders of images without labels: what is learned is the teacher's answer. Each stage
starts from the best checkpoint of the one before; the second and further `levels` start from the first one's stage
`grow`, with a stage `levels` of their own. `size` multiplies all epochs. Stop it at any moment and run it again:
finished stages are kept, a stage that was stopped goes on.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

from casc_det.cli.parsing import script_options
from casc_det.yolo.convert import convert

COMMON = {"batch": 16, "nbs": 16, "optimizer": "AdamW", "lrf": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
COMMON |= {"cos_lr": True, "warmup_epochs": 0.3, "warmup_bias_lr": 0.0, "amp": "bf16", "cache": "ram", "seed": 0}
COMMON |= {"plots": False, "exist_ok": True}


def rates(share: float) -> dict:
    """Learning rates of convolutions, of biases and BatchNorm, and of clips."""
    return {"lr0": 1e-4 * share, "norm_lr": 1e-3 * share, "clip_lr": 1e-3 * share}


GROW = {"imgsz": 448, "multi_scale": 0.3, "epochs": 4, "mosaic": 0.2, "close_mosaic": 2}
STAGES = {
    "swap": {"imgsz": 320, "epochs": 24, "progressive": 0.4, "mosaic": 0.3, "close_mosaic": 6, **rates(1)},
    "grow": {**GROW, **rates(0.6)},
    "levels": {**GROW, **rates(0.8)},
    "whole": {"imgsz": 512, "multi_scale": 0.35, "epochs": 3, "mosaic": 0.0, "fake_int8": 1.0, **rates(0.3)},
    "polish": {"imgsz": 416, "multi_scale": 0.35, "epochs": 12, "mosaic": 0.2, "close_mosaic": 4, "fake_int8": 0.3}
    | rates(1),
    "large": {"imgsz": 512, "multi_scale": 0.35, "epochs": 12, "mosaic": 0.3, "close_mosaic": 4, "fake_int8": 0.3}
    | rates(1),
}
FIRST, FURTHER = ("swap", "grow", "whole", "polish", "large"), ("levels", "whole", "polish", "large")
# glibc gives large buffers back at once and faults them in again, a tenth of the time of a training on a CPU
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


def run_stage(project: Path, name: str, settings: dict) -> Path:
    """Train a stage, or what is left of it; its best checkpoint."""
    folder = project / name
    last, results = folder / "weights" / "last.pt", folder / "results.csv"
    done = len(list(csv.reader(results.open()))) - 1 if results.exists() else 0
    if done < settings["epochs"]:
        asked = {"resume": last} if last.exists() else {**settings, "project": project, "name": name}
        words = [f"{key}={value}" for key, value in asked.items()]
        print("casc-det train", *words, flush=True)
        subprocess.run([sys.executable, "-m", "casc_det", "train", *words], env={**MALLOC, **os.environ}, check=True)
    return folder / "weights" / "best.pt"


def main(words: list[str]) -> None:
    options = {"model": "yolov8n.yaml", "levels": 16, "size": 1, "project": "runs/recipe", "out": "weights"}
    options |= script_options(words, __doc__)
    if not {"data", "teacher"} <= options.keys():
        sys.exit(f"recipe: data and teacher are needed; see the top of {__file__}")
    levels, size, model = options.pop("levels"), options.pop("size"), options.pop("model")
    project, out = Path(options.pop("project")).absolute(), Path(options.pop("out"))
    start = {"model": model, "weights": options["teacher"]}
    for q in levels if isinstance(levels, tuple) else (levels,):
        for stage in FIRST if "weights" in start else FURTHER:
            settings = {**COMMON, **STAGES[stage], **options, "levels": q, **start}
            settings["epochs"] = max(round(settings["epochs"] * size), 1)
            best = run_stage(project, f"q{q}-{stage}", settings)
            start = {"model": best}
            if stage == "grow":
                grown = start
        start, side, name = grown, options.get("imgsz", 640), f"{Path(model).stem}-cq{q}"
        convert(best, side, "float").save(out / f"{name}-float.safetensors")
        print(f"Written to {convert(best, side).save(out / f'{name}.safetensors')}")


if __name__ == "__main__":
    main(sys.argv[1:])
