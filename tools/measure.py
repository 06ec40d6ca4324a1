"""Measure the shipped weights: everything that stands in the cards and tables, from one resumable command.

    python tools/measure.py coco=coco-mini voc=voc-mini bccd=bccd
        teacher=yolov8n-coco-fused.safetensors [only=cq16.coco,study] [processes=2]
        [project=runs/measure]

What the project folder holds already is kept; to measure again, remove its folder or file there. At the end the figures
are taken over into `weights/` and the tables are written (`tools/update_tables.py`).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from update_tables import RUNS

from casc_det.cli.parsing import script_options

ROOT = Path(__file__).resolve().parent.parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
SAVING = {16: "hysteresis=0.25", 8: "delay=0.5"}  # what saves corrections at each Q


def steps(q: int, few: bool = False) -> str:
    """Rows of a table: Q, 5/4 Q, 3/2 Q, ... and auto."""
    return ",".join(map(str, sorted({q, q * 5 // 4, q * 3 // 2, 2 * q, *(() if few else (3 * q, 4 * q))}))) + ",auto"


def validations(options: dict) -> dict[str, list[str]]:
    """name of `RUNS` -> arguments of `casc-det val`."""
    coco = [f"data={options['coco']}/annotations/instances_val2017.json", f"against={options['teacher']}"]
    voc = [f"data={options['voc']}", "split=val", f"against={options['teacher']}"]
    result = {}
    for q in (16, 8):
        weights = f"weights={ROOT}/weights/yolov8n-cq{q}.safetensors"
        result[f"cq{q}.coco"] = [*coco, weights, "imgsz=320", f"timesteps={steps(q)}"]
        result[f"cq{q}.coco640"] = [*coco, weights, "imgsz=640", f"timesteps={steps(q, few=True)}"]
        result[f"cq{q}.voc"] = [*voc, weights, "imgsz=320", f"timesteps={steps(q, few=True)}"]
        result[f"cq{q}.saving"] = [*coco[:1], weights, "imgsz=320", f"timesteps={steps(q)}", SAVING[q]]
    weights = f"weights={ROOT}/weights/yolov8n-cq16-float.safetensors"
    for kind in ("float64", "float32"):
        result[kind] = [coco[0], weights, "imgsz=320", f"precision={kind}", "timesteps=auto"]
    weights = f"weights={ROOT}/weights/yolov8n-bccd-cq16.safetensors"
    result["bccd"] = [f"data={options['bccd']}", "split=test", weights, f"timesteps={steps(16)}"]
    return result


def studies(options: dict) -> dict[str, list[str]]:
    """name -> arguments of `casc-det study`."""
    data = [f"data={options['coco']}/annotations/instances_val2017.json", "imgsz=320", "limit=100"]
    q16 = f"weights={ROOT}/weights/yolov8n-cq16.safetensors"
    several = "weights=" + ",".join(f"{ROOT}/weights/yolov8n-cq{q}.safetensors" for q in (16, 8))
    return {
        "study": [*data, q16, "neurons=cif,if,signed_if", "hysteresis=0.25", "delay=0.25,0.5"],
        "levels": [*data, several + (f",{options['q4']}" if "q4" in options else ""), "hysteresis=0.25", "delay=0.5"],
        "robust": [*data[:-1], "limit=40", q16, "corruptions=noise,blur,fog,jpeg,brightness"],
    }


SUMMARIES = {"study": "yolov8n-cq16.study", "levels": "levels.study", "robust": "yolov8n-cq16.robust"}
FIGURES = {
    "study/map": "yolov8n-cq16-study-map",
    "study/pareto": "yolov8n-cq16-study-pareto",
    "levels/pareto": "levels-pareto",
    "robust/robustness": "yolov8n-cq16-robustness",
    "demo/demo": "yolov8n-cq16-demo",
}


def run(words: list, threads: dict | None = None) -> None:
    print(*words, flush=True)
    subprocess.run(list(map(str, words)), check=True, env={**os.environ, **(threads or {})}, cwd=ROOT)


def main(words: list[str]) -> None:
    options = {"processes": 2, "project": "runs/measure", **script_options(words, __doc__)}
    missing = [key for key in ("coco", "voc", "bccd", "teacher") if key not in options]
    if missing:
        sys.exit(f"measure: {missing[0]} is missing; see the top of {__file__}")
    options |= {key: Path(options[key]).absolute() for key in ("coco", "voc", "bccd", "teacher", "project")}
    project, tools = options["project"], ROOT / "tools"
    only = options.get("only")
    asked = lambda name: only is None or name in str(only).split(",")
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={options['processes']}"]
    for name, arguments in validations(options).items():
        weights = next(Path(word.removeprefix("weights=")) for word in arguments if word.startswith("weights="))
        if not asked(name) or not weights.exists():
            continue
        if not (project / name / "results.json").exists():
            resume = [f"resume={project / name}"] if (project / name / "settings.json").exists() else []
            where = resume or [f"project={project}", f"name={name}", "exist_ok=true"]
            run([*torchrun, "-m", "casc_det", "val", *arguments, *where], ONE_THREAD)
    for name, arguments in studies(options).items():
        if asked(name) and not (project / name / "report.html").exists():
            where = (
                [f"resume={project / name}"] if (project / name).exists() else [f"project={project}", f"name={name}"]
            )
            run([sys.executable, "-m", "casc_det", "study", *arguments, *where])
    images = f"source={options['coco']}/images/val2017"
    for name, words in (
        ("exactness", [tools / "check_exactness.py", images, "engine=fast,reference", "sizes=320"]),
        ("neurons", [tools / "compare_neurons.py", images, "limit=30"]),
    ):
        if asked(name):
            if not (project / f"{name}.json").exists():
                run([sys.executable, *words, f"out={project / name}.json"])
            shutil.copy(project / f"{name}.json", ROOT / "weights" / f"yolov8n-cq16.{name}.json")
    if asked("demo"):
        run([sys.executable, "-m", "casc_det", "demo", f"project={project}", "name=demo", "exist_ok=true"])
    for source, name in FIGURES.items():
        if asked(source.split("/")[0]) and (project / f"{source}.png").exists():
            shutil.copy(project / f"{source}.png", ROOT / "weights" / f"{name}.png")
    for source, name in SUMMARIES.items():
        if asked(source):
            shutil.copy(project / source / "summary.json", ROOT / "weights" / f"{name}.json")
    taken = [f"{name}={project / name}" for name in RUNS if asked(name) and (project / name / "results.json").exists()]
    run([sys.executable, tools / "update_tables.py", *taken])


if __name__ == "__main__":
    main(sys.argv[1:])
