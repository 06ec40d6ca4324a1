"""How fast the engines are, next to the ANN, to 8-bit runtimes, to SpikingJelly and to a plain loop, in one run.

    python tools/bench_engine.py [weights=a.safetensors,b.safetensors] [imgsz=320,640] [batch=1,8]
        [timesteps=8,16,32,64,99%,rest] [found=RUN,RUN] [burst=1,8] [ramp=true] [repeats=5] [threads=2]
        [what=ann,fast,reference,spikingjelly,plain,onnxruntime,openvino] [source=folder] [memory=true]
        [out=bench.json]

Method. The same images (`batch` of `source` at a time, others in each repeat; default: the demo image of
Ultralytics, also mirrored) go through each of

    ann           the float32 network in torch: convolution with bias, then its activation in place, nothing quantised
    onnxruntime   the same network as 8-bit integers (static ranges, weights by channel): pip install onnx onnxruntime
    openvino      the same 8-bit integers in OpenVINO: pip install onnx onnxruntime openvino
    fast          the fast engine on the integer graph, without looking at the readout before the last step
    reference     the reference engine on the integer graph
    spikingjelly  the same network in SpikingJelly (pip install spikingjelly), multi-step, STBIFNode as the neuron:
                  ReLU with one unit spike a step
    plain         a loop over time in eager torch, one convolution and one neuron step each, nothing counted

`spikingjelly` and `plain` run the real-valued graph in float32. What is not installed, or cannot run a network, is left
out, and `left_out` in the file says so. `burst` and `ramp` (default: what each file recommends) are those of all that
simulate. `timesteps`: numbers; `99%`, the first step with 99 % of the ANN's mAP50-95, which is looked up in `found`:
runs of `casc-det val` or `study` of the same network, burst and ramp (at the same size if there is one; `steps_from` in
the file says which); and `rest`, until all images of the batch are quiescent: engines stop by themselves, the others
are given the step at which an engine did.

Each of them has a process of its own, so that none finds the memory as another left it, and only one works at a time.
For each network, size and batch all are run in turn, `repeats` times after one run to warm up, so that whatever else
the machine does hits all alike; the median is kept, and every single time is in the file. What an existing `out` holds
of other networks, sizes and batches is kept. `peak_mb` is the largest resident memory of a process of its own that
makes one run; `memory=false` leaves that out, which takes longer than all the rest. `ratio` is the time of an image
over that of one ANN forward of one image, `ratio_per_step` a step's, `ratio_cpu` that of the times that all cores
together computed: of one thread it says the same on a busy machine. `readout_error` is how far 8-bit readouts are from
the float32 ones, relative Euclidean norm.
"""

import json
import multiprocessing
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from contenders import ANNS, CALIBRATION, CONTENDERS, INT8, Network, last_step, readout_error, unfit, write_int8
from lists import listed

import casc_det.yolo  # noqa: F401  prepares Ultralytics
from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.graph.file import fingerprint, load_graph
from casc_det.graph.zoo import DEFAULT, find
from casc_det.simulation import ENGINES, SimulationSettings
from casc_det.studies.curves import smallest_step
from casc_det.yolo.images import letterbox
from casc_det.yolo.progress import demo_image
from casc_det.yolo.sources import Source

DEFAULTS = {"weights": DEFAULT, "imgsz": "320,640", "batch": "1,8", "timesteps": "8,16,32,64", "found": None}
DEFAULTS |= {"burst": None, "ramp": None, "repeats": 5, "threads": 2, "what": ",".join(CONTENDERS), "source": None}
DEFAULTS |= {"memory": True, "out": "bench.json"}
ENOUGH, REST = "99%", "rest"


class Job(NamedTuple):
    """What is timed. steps: a number, "auto", or None: it has no time steps. moment: the word that asked for them."""

    what: str
    weights: str
    burst: int | None
    steps: int | str | None
    moment: str | None = None


def load_images(source: str | None, count: int, size: int, turn: int = 0) -> torch.Tensor:
    """(count, 3, size, size): those after the first `turn * count`; behind the last one they begin again, mirrored."""
    files = Source(source or demo_image()).files
    images = []
    for i in range(turn * count, (turn + 1) * count):
        image = next(iter(Source(files[i % len(files)]))).image
        image = letterbox(image, (size, size), 32, False)
        images.append(image.flip(2) if i // len(files) % 2 else image)
    return torch.stack(images)


def load_network(weights: str, burst: int | None, options: dict) -> Network:
    settings = SimulationSettings(burst=burst, ramp=options["ramp"])
    folder = Path(options.get("scratch", ".")) / Path(weights).stem
    return Network(load_graph(find(weights)), settings, folder, options["threads"])


class Worker:
    """A process of its own that runs one of `CONTENDERS`."""

    def __init__(self, options: dict):
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, context, initializer=prepare_worker, initargs=(options,))

    def __call__(self, job: Job, size: int, batch: int, turn: int) -> tuple[float, float, int | None]:
        """Milliseconds of one run, those of all cores together, and its steps. turn: 0, 1, ...: which images."""
        return self.pool.submit(run_once, job, size, batch, turn).result()


def prepare_worker(options: dict) -> None:
    global run_job
    torch.set_num_threads(options["threads"])
    network = cache(lambda weights, burst: load_network(weights, burst, options))
    images = cache(lambda *which: load_images(options["source"], *which))
    run_job = lambda job, size, batch, turn: timed(job, network(job.weights, job.burst), images(batch, size, turn))


def run_once(*job) -> tuple[float, float, int | None]:
    return run_job(*job)


@torch.no_grad()
def timed(job: Job, network: Network, images: torch.Tensor) -> tuple[float, float, int | None]:
    start, cpu, steps = perf_counter(), process_time(), job.steps
    if job.what in ENGINES:
        last = last_step(job.what, network, images, steps)
        steps, _ = last.t, last.readout
    else:
        CONTENDERS[job.what](network, images, steps)
    return (perf_counter() - start) * 1e3, (process_time() - cpu) * 1e3, steps


def memory_of(*job) -> float:
    """`measure_memory` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_memory, job)


@torch.no_grad()
def measure_memory(job: Job, size: int, batch: int, options: dict) -> float:
    """Largest resident memory (MB) of this process after one run."""
    torch.set_num_threads(options["threads"])
    timed(job, load_network(job.weights, job.burst, options), load_images(options["source"], batch, size))
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux
        return float("nan")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024


def moments_of(folder: Path) -> list[dict]:
    """The first steps with 99 % of the ANN's mAP50-95 in a run folder of `casc-det val` or `study`."""
    if (folder / "results.json").exists():
        content = json.loads((folder / "results.json").read_text())
        made, rows = content["settings"], content["rows"]
        goal = 0.99 * next(row["mAP50-95"] for row in rows if row["network"] == "ann")
        steps = [row["timesteps"] for row in rows if row["network"] == "snn" and row["mAP50-95"] >= goal]
        found = [(made, made["graph"], made["imgsz"], next((t for t in steps if t != "auto"), None))]
    else:
        lines = (folder / "cells.jsonl").read_text().splitlines()
        records = [record for record in map(json.loads, lines) if not record["variant"]["severity"]]
        first = lambda record: smallest_step(record["result"], 0.99, kept=False)
        found = [(record["variant"], record["made"]["graph"], record["imgsz"], first(record)) for record in records]
    same = lambda made: (made.get("burst", 1), made.get("ramp", False))
    plain = lambda made: not (made["hysteresis"] or made["delay"]) and made.get("neuron", "cif") == "cif"
    return [
        {"run": folder.name, "graph": graph, "how": same(made), "imgsz": size[0], "steps": steps}
        for made, graph, size, steps in found
        if plain(made) and made.get("schedule", "wsc") == "wsc"
    ]


def enough(found: list[dict], network: Network, size: int) -> tuple[int, str]:
    """The step of 99 % of a network as it is set, and where it comes from."""
    how = network.settings.of(network.graph)
    graph, key = fingerprint(network.graph), (how.burst, how.ramp)
    fitting = [one for one in found if one["graph"] == graph and one["how"] == key and one["steps"]]
    if not fitting:
        text = f"burst={how.burst}, ramp={how.ramp}"
        sys.exit(f"bench_engine: found: no step with 99 % of this network's mAP with {text}; give runs of val or study")
    best = min(fitting, key=lambda one: abs(one["imgsz"] - size))
    return best["steps"], f"{best['run']}, {best['imgsz']} px"


def stepping(weights: str, size: int, options: dict, found: list[dict]) -> list[tuple[Job, str | None]]:
    """The jobs of all that simulates a network, each with where its number of steps comes from."""
    result = []
    for burst in options["burst"]:
        network = load_network(weights, burst, options)
        for steps in options["timesteps"]:
            moment, origin = (steps, None) if steps in (ENOUGH, REST) else (None, None)
            if steps == ENOUGH:
                steps, origin = enough(found, network, size)
            elif steps == REST:
                steps = "auto"
            for what in options["what"]:
                if what not in ANNS and not unfit(what, network):
                    result.append((Job(what, weights, burst, steps, moment), origin))
    return result


def measure(jobs: list[Job], workers: dict[str, Worker], size: int, batch: int, repeats: int) -> dict[Job, list]:
    """(milliseconds an image, those of all cores together, steps) of each repeat."""
    taken = {job: [] for job in jobs}
    for repeat in range(repeats + 1):
        rests = {}
        for job in jobs:
            run = job
            if job.steps == "auto" and job.what not in ENGINES:
                run = job._replace(steps=rests[job.burst])
            ms, cpu, steps = workers[job.what](run, size, batch, repeat)
            if job.steps == "auto":
                rests[job.burst] = steps
            if repeat:
                taken[job].append((ms / batch, cpu / batch, steps))
        print(f"{size} px, batch {batch}: {repeat} of {repeats} repeats", flush=True)
    return taken


def cells_of(taken: dict[Job, list], place: dict, origins: dict[Job, str | None], options: dict) -> list[dict]:
    """What the file holds of a network, size and batch."""
    cells, columns = [], {job: list(zip(*values, strict=True)) for job, values in taken.items()}
    ann, ann_cpu = next(map(statistics.median, parts[:2]) for job, parts in columns.items() if job.what == "ann")
    for job, (times, cpu, reached) in columns.items():
        network = load_network(job.weights, job.burst, options)
        how = network.settings.of(network.graph)
        steps = None if job.steps is None else statistics.mean(reached)
        cell = {"what": job.what, **place, "levels": network.graph.levels}
        if job.what not in ANNS:
            cell |= {"burst": how.burst, "ramp": how.ramp, "moment": job.moment, "steps_from": origins.get(job)}
        if job.what in INT8:
            cell["readout_error"] = options["errors"][job.what]
        cell["timesteps"] = steps if steps is None or steps % 1 else int(steps)
        cell["ms_per_picture"] = statistics.median(times)
        cell["ratio"] = cell["ms_per_picture"] / ann
        cell["ratio_per_step"] = cell["ratio"] / (steps or 1)
        cell["ratio_cpu"] = statistics.median(cpu) / ann_cpu
        run = job if job.steps != "auto" or job.what in ENGINES else job._replace(steps=reached[0])
        if options["memory"]:
            cell["peak_mb"] = memory_of(run, place["imgsz"], place["batch"], options)
        cells.append(cell | {"all_ms": times})
        print(json.dumps({key: value for key, value in cell.items() if key != "all_ms"}), flush=True)
    return cells


def left_out(options: dict) -> list[dict]:
    """What cannot run which network, and why."""
    result = []
    for weights in options["weights"]:
        for burst in options["burst"]:
            network = load_network(weights, burst, options)
            for what in options["what"]:
                if why := unfit(what, network):
                    result.append({"what": what, "network": Path(weights).stem, "burst": burst, "why": why})
                    print(f"left out: {result[-1]}", flush=True)
    return result


def read_options(words: list[str]) -> dict:
    options = DEFAULTS | script_options(words, __doc__)
    for key in ("weights", "imgsz", "batch", "timesteps", "found", "burst", "what"):
        options[key] = listed(options[key])
    options["burst"] = options["burst"] or [None]
    options["what"] = ["ann", *(what for what in options["what"] if what != "ann")]
    odd = [t for t in options["timesteps"] if not isinstance(t, int) and t not in (ENOUGH, REST)]
    unknown = [*(set(options) - set(DEFAULTS)), *(set(options["what"]) - set(CONTENDERS)), *map(str, odd)]
    if unknown:
        sys.exit(f"bench_engine: unknown: {', '.join(sorted(unknown))}; see the top of {__file__}")
    if REST in options["timesteps"] and not set(ENGINES) & set(options["what"]):
        sys.exit("bench_engine: timesteps=rest needs what=fast or what=reference, which tell when the network rests")
    options["what"].sort(key=lambda what: list(CONTENDERS).index(what))  # engines before those that ask them for steps
    return options


def main(words: list[str]) -> None:
    options = read_options(words)
    torch.set_num_threads(options["threads"])
    found = [moment for folder in options["found"] for moment in moments_of(Path(folder))]
    missing, cells, out = left_out(options), [], Path(options["out"])
    old = json.loads(out.read_text()) if out.exists() else {"cells": []}
    with TemporaryDirectory() as scratch:
        options["scratch"] = scratch
        workers = {what: Worker(options) for what in options["what"]}
        for weights in options["weights"]:
            network = load_network(weights, None, options)
            anns = [what for what in options["what"] if what in ANNS and not unfit(what, network)]
            if set(anns) & set(INT8):
                network.int8.mkdir()
                some = load_images(options["source"], CALIBRATION, options["imgsz"][0])
                write_int8(network, some, network.int8)
                options["errors"] = {what: readout_error(what, network, some[:4]) for what in set(anns) & set(INT8)}
            for size in options["imgsz"]:
                origins = dict(stepping(weights, size, options, found))
                jobs = [*(Job(what, weights, None, None) for what in anns), *origins]
                for batch in options["batch"]:
                    place = {"network": Path(weights).stem, "imgsz": size, "batch": batch}
                    place["pictures"] = Path(options["source"] or demo_image()).name
                    taken = measure(jobs, workers, size, batch, options["repeats"])
                    cells += cells_of(taken, place, origins, options)
                    where = lambda cell: (cell.get("network"), cell["imgsz"], cell["batch"])
                    kept = [cell for cell in old["cells"] if where(cell) not in set(map(where, cells))]
                    everything = sorted(kept + cells, key=lambda cell: (str(where(cell)[0]), *where(cell)[1:]))
                    write_json(out, {"machine": provenance("bench_engine 2"), "left_out": missing, "cells": everything})
    print(f"Written to {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
