"""Seconds per image with several numbers of threads and ways to wait, on a machine that has other work to do, as JSON.

    python tools/bench_threads.py busy=0,1,2 out=threads.json

Each setting runs in a process of its own, because OpenMP reads its environment once: one prediction to warm up, then
`images` of them, and that `rounds` times in turn, while `busy` other processes compute. The median and the largest time
are given, and both as ratios to those of one thread in the same row. What else the machine does is not known to this
script; it notes the load before and after.
"""

import json
import os
import statistics
import subprocess
import sys

from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options

CHILD = """
import json, sys, time
from casc_det import SpikingYOLO
from casc_det.yolo.progress import demo_image
threads, imgsz, images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = SpikingYOLO(threads=threads if threads == "auto" else int(threads))
seconds = []
for _ in range(images + 1):
    start = time.perf_counter()
    model.predict(demo_image(), imgsz=imgsz, timesteps=32)
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds[1:]))
"""


def settings() -> dict[str, tuple[str, dict[str, str]]]:
    """Name -> number of threads and environment."""
    cores = str(len(os.sched_getaffinity(0)))
    waits = {
        "": {},
        ", passive": {"OMP_WAIT_POLICY": "passive"},
        **{f", spin {n}": {"GOMP_SPINCOUNT": str(n)} for n in (1000, 10000, 100000)},
    }
    return {
        "1 thread": ("1", {}),
        **{f"{cores} threads{name}": (cores, wait) for name, wait in waits.items()},
        "auto": ("auto", {}),
    }


def measure(threads: str, environment: dict[str, str], imgsz: int, images: int) -> list[float]:
    command = [sys.executable, "-c", CHILD, threads, str(imgsz), str(images)]
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(command, env={**clean, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def bench(busy: int, imgsz: int, images: int, rounds: int, chosen: list[str]) -> dict:
    """The row of one load."""
    workers = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    found = {name: [] for name in chosen}
    before = os.getloadavg()[0]
    try:
        for _ in range(rounds):
            for name in chosen:
                found[name] += measure(*settings()[name], imgsz, images)
    finally:
        for worker in workers:
            worker.kill()
    times = {name: {"median": statistics.median(x), "largest": max(x)} for name, x in found.items()}
    one = times["1 thread"]
    for value in times.values():
        value |= {f"{key}, ratio": value[key] / one[key] for key in ("median", "largest")}
    return {"busy": busy, "load": [before, os.getloadavg()[0]], "seconds": times}


def main(words: list[str]) -> None:
    given = script_options(words, __doc__)
    loads = given.get("busy", (0, 1, 2))
    imgsz, images, rounds = (int(given.get(k, d)) for k, d in (("imgsz", 320), ("images", 5), ("rounds", 2)))
    chosen = given["settings"].split(";") if "settings" in given else list(settings())
    rows = []
    for busy in loads if isinstance(loads, tuple) else (loads,):
        rows.append(bench(busy, imgsz, images, rounds, chosen))
        for name, value in rows[-1]["seconds"].items():
            times = "  ".join(f"{key} {value[key]:6.2f}" for key in value)
            print(f"busy {busy}  {name:<24} {times}", flush=True)
    content = {"imgsz": imgsz, "images": images * rounds, "cores": len(os.sched_getaffinity(0)), "rows": rows}
    write_json(given.get("out", "threads.json"), content | {"made": provenance("bench_threads 1")})


if __name__ == "__main__":
    main(sys.argv[1:])
