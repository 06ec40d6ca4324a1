"""How fast the engines are, next to the ANN, to SpikingJelly and to a plain loop, in one run.

    python tools/bench_engine.py [imgsz=320,640] [batch=1,8] [timesteps=8,16,32,64] [repeats=5] [threads=2]
        [what=ann,fast,reference,spikingjelly,plain] [source=folder] [weights=...] [real=...] [out=bench.json]

Method. The same images (`batch` of `source` at a time, others in each repeat; default: the demo image of
Ultralytics, also mirrored) go through each of

    ann           the float32 CQReLU network in torch: convolution with bias, then floor and clamp in place
    fast          the fast engine on the integer graph, without looking at the readout before the last step
    reference     the reference engine on the integer graph
    spikingjelly  the same network in SpikingJelly (pip install spikingjelly), multi-step, STBIFNode as the neuron
    plain         a loop over time in eager torch, one convolution and one neuron step each, nothing counted

`spikingjelly` and `plain` run the real-valued graph in float32. Each of the five has a process of its own, so that none
finds the memory as another left it, and only one works at a time. For each size and batch all of them are run in turn,
`repeats` times after one run to warm up, so that whatever else the machine does hits all alike; the median is kept, and
every single time is in the file. What an existing `out` holds of other sizes and batches is kept. `peak_mb` is the
largest resident memory of a process of its own that makes one run. `ratio_per_step` is the time of one step of one
image over that of one ANN forward of one image.
"""

import json
import multiprocessing
import statistics
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from time import perf_counter

import torch
from torch.nn import functional as F

import casc_det.yolo  # noqa: F401  prepares Ultralytics
from casc_det import graph as g
from casc_det.base.files import write_json
from casc_det.base.provenance import processor, provenance
from casc_det.cli.parsing import script_options
from casc_det.graph.file import load_graph
from casc_det.neurons import cif_step
from casc_det.neurons.rule import NeuronParams, initial_state
from casc_det.simulation import SimulationSettings, Simulator
from casc_det.yolo.images import letterbox
from casc_det.yolo.progress import demo_image
from casc_det.yolo.sources import Source

WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "yolov8n-cq16.safetensors"
DEFAULTS = {"imgsz": "320,640", "batch": "1,8", "timesteps": "8,16,32,64", "repeats": 5, "threads": 2, "source": None}
DEFAULTS |= {"weights": WEIGHTS, "real": WEIGHTS.with_name("yolov8n-cq16-float.safetensors"), "out": "bench.json"}
WHATS = ("ann", "fast", "reference", "spikingjelly", "plain")


def forward_ann(graph: g.SpikingGraph, images: torch.Tensor, steps: int) -> dict[str, torch.Tensor]:
    """The CQReLU network, in counts; `steps` is not used."""
    geometry = lambda node: (node.stride, node.padding, node.dilation, node.groups)
    rules = {
        g.Input: lambda node: images * graph.levels,
        g.Conv: lambda node, x: F.conv2d(x, node.weight, node.bias * graph.levels, *geometry(node)),
        g.Neuron: lambda node, x: x.add_(0.5).floor_().clamp_(0, graph.levels),
        g.Readout: lambda node, x: x / graph.levels,
    }
    return g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs))


def run_engine(engine: str, graph: g.SpikingGraph, images: torch.Tensor, steps: int) -> dict[str, torch.Tensor]:
    return deque(made_ready(graph, engine).run(images, steps), maxlen=1).pop().readout


@cache
def made_ready(graph: g.SpikingGraph, engine: str) -> Simulator:
    return Simulator(graph, SimulationSettings(engine))


def run_plain(graph: g.SpikingGraph, images: torch.Tensor, steps: int, neuron=cif_step) -> dict[str, torch.Tensor]:
    """Time step by time step, as research code does it."""
    states, sums, before = {}, {}, {}
    zeros = torch.zeros_like(images)

    def fire(node, x):
        params = NeuronParams(1.0, graph.levels)
        spikes, states[node.name] = neuron(x, states.get(node.name) or initial_state(x, params), params)
        return spikes

    def add_up(node, x):
        sums[node.name] = sums.get(node.name, 0) + x
        return sums[node.name]

    def otherwise(node, *inputs):
        if node.spiking is not g.Spiking.TEMPORAL:
            return node.compute(*inputs)
        after = node.compute(add_up(node, *inputs))
        change, before[node.name] = after - before.get(node.name, 0), after
        return change

    for t in range(1, steps + 1):
        awake = t <= graph.levels
        bias = lambda node, awake=awake: node.bias.view(1, -1, 1, 1) if awake else 0
        rules = {
            g.Input: lambda node, awake=awake: images if awake else zeros,
            g.Conv: lambda node, x, bias=bias: node.compute(x) + bias(node),
            g.Neuron: fire,
            g.Readout: add_up,
        }
        g.walk(graph, rules, otherwise)
    return {node.name: sums[node.name] / min(steps, graph.levels) for node in graph.of_type(g.Readout)}


def run_spikingjelly(graph, images: torch.Tensor, steps: int, spikes: dict | None = None) -> dict[str, torch.Tensor]:
    """The same network of SpikingJelly's parts, layer by layer over all steps; `spikes` collects each layer's."""
    from spikingjelly.activation_based import functional, neuron

    awake = (torch.arange(steps) < graph.levels).to(images.dtype).view(-1, 1, 1, 1, 1)
    each = functional.seq_to_ann_forward

    def fire(node, x):
        levels = graph.levels
        layer = neuron.STBIFNode(1.0, level=levels + 1, pos_max=levels, neg_min=0, step_mode="m")
        signal = layer(x)
        if spikes is not None:
            spikes[node.name] = signal
        return signal

    def otherwise(node, x):
        if node.spiking is g.Spiking.TEMPORAL:
            after = each(x.cumsum(0), node.compute)
            return after.diff(dim=0, prepend=torch.zeros_like(after[:1]))
        return each(x, node.compute)

    rules = {
        g.Input: lambda node: images * awake,
        g.Conv: lambda node, x: each(x, node.compute).add_(node.bias.view(1, 1, -1, 1, 1) * awake),
        g.Neuron: fire,
        g.Readout: lambda node, x: x.sum(0) / min(steps, graph.levels),
        g.Add: lambda node, x, y: x + y,
        g.Concat: lambda node, *inputs: torch.cat(inputs, 2),
    }
    return g.walk(graph, rules, otherwise)


RUNS = {
    "ann": forward_ann,
    "fast": partial(run_engine, "fast"),
    "reference": partial(run_engine, "reference"),
    "spikingjelly": run_spikingjelly,
    "plain": run_plain,
}


def load_images(source, count: int, size: int, turn: int = 0) -> torch.Tensor:
    """(count, 3, size, size): those after the first `turn * count`; behind the last one they begin again, mirrored."""
    files = Source(source or demo_image()).files
    images = []
    for i in range(turn * count, (turn + 1) * count):
        image = next(iter(Source(files[i % len(files)]))).image
        image = letterbox(image, (size, size), 32, False)
        images.append(image.flip(2) if i // len(files) % 2 else image)
    return torch.stack(images)


def graph_of(what: str, options: dict) -> g.SpikingGraph:
    return load_graph(options["weights" if what in ("fast", "reference") else "real"])


class Worker:
    """A process of its own that runs one of `RUNS`."""

    def __init__(self, what: str, options: dict):
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, context, initializer=prepare_worker, initargs=(what, options))

    def __call__(self, *job) -> float:
        """Milliseconds of one run; job: size, batch, steps, turn (0, 1, ...: which images)."""
        return self.pool.submit(run_once, *job).result()


def prepare_worker(what: str, options: dict) -> None:
    global run_job
    torch.set_num_threads(options["threads"])
    graph, images = graph_of(what, options), cache(partial(load_images, options["source"]))
    run_job = lambda size, batch, steps, turn: timed(RUNS[what], graph, images(batch, size, turn), steps)


def run_once(*job) -> float:
    return run_job(*job)


@torch.no_grad()
def timed(run, *arguments) -> float:
    start = perf_counter()
    run(*arguments)
    return (perf_counter() - start) * 1e3


@torch.no_grad()
def measure_memory(what: str, size: int, batch: int, steps: int, options: dict) -> float:
    """Largest resident memory (MB) of this process after one run."""
    torch.set_num_threads(options["threads"])
    RUNS[what](graph_of(what, options), load_images(options["source"], batch, size), steps)
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux
        return float("nan")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024


def main(words: list[str]) -> None:
    options = {**DEFAULTS, "what": ",".join(WHATS), **script_options(words, __doc__)}
    unknown = set(options) - {*DEFAULTS, "what"} | set(listed(options["what"])) - set(WHATS)
    if unknown:
        sys.exit(f"bench_engine: unknown: {', '.join(sorted(unknown))}; see the top of {__file__}")
    sizes, batches, times = (listed(options[key]) for key in ("imgsz", "batch", "timesteps"))
    whats = [what for what in listed(options["what"]) if what != "ann"]
    torch.set_num_threads(options["threads"])
    workers = {what: Worker(what, options) for what in ("ann", *whats)}
    cells = []
    for size in sizes:
        for batch in batches:
            jobs = [("ann", None), *[(what, t) for t in times for what in whats]]
            taken = {job: [] for job in jobs}
            for repeat in range(options["repeats"] + 1):
                for what, t in jobs:
                    value = workers[what](size, batch, t, repeat) / batch
                    if repeat:
                        taken[what, t].append(value)
                print(f"{size} px, batch {batch}: {repeat} of {options['repeats']} repeats", flush=True)
            ann = statistics.median(taken["ann", None])
            for (what, t), values in taken.items():
                cell = {"what": what, "imgsz": size, "batch": batch, "timesteps": t}
                cell["pictures"] = Path(options["source"] or demo_image()).name
                cell["ms_per_picture"] = statistics.median(values)
                cell["ratio_per_step"] = cell["ms_per_picture"] / ann / (t or 1)
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    cell["peak_mb"] = pool.apply(measure_memory, (what, size, batch, t or 1, options))
                cells.append(cell | {"all_ms": values})
                print(json.dumps({key: value for key, value in cell.items() if key != "all_ms"}), flush=True)
    machine = {**provenance("bench_engine 1"), "processor": processor()}
    out = Path(options["out"])
    old = json.loads(out.read_text())["cells"] if out.exists() else []
    places = {(size, batch) for size in sizes for batch in batches}
    kept = [cell for cell in old if (cell["imgsz"], cell["batch"]) not in places]
    cells = sorted(kept + cells, key=lambda cell: (cell["imgsz"], cell["batch"]))
    write_json(out, {"machine": machine, "cells": cells})
    print(f"Written to {options['out']}")


def listed(value) -> list:
    """`8`, `8,16` or `fast,plain` of the command line as a list."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, tuple) else [value]
    return [int(part) if str(part).isdigit() else part for part in parts]


if __name__ == "__main__":
    main(sys.argv[1:])
