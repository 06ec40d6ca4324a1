"""Count the neurons and readout values in which spiking network and ANN differ at quiescence.

    python tools/check_exactness.py source=coco-mini/images/val2017 [limit=20] [both=20] [levels=4]
        [models=yolov3-tiny,yolov5n,yolov8n or none] [functions=relu,silu] [weights=a.safetensors,b.safetensors or none]
        [sizes=320,256x320] [burst=1,3,8] [ramp=true] [engine=fast,reference] [part=1/2] [out=exactness.json]

The networks in `models` have random weights, BatchNorm statistics of the images and clips drawn from 1.5 to 2.5,
so that every layer is alive, and neurons that follow each of `functions`; their real-valued spiking graph (float64) is
compared, where that is ReLU, with Ultralytics' own forward pass as well, and their integer graph (float32) is made of
it. The files in `weights` (default: the shipped ones) are compared with their ANN twin. `burst` and `ramp`: default
what each file recommends.

The first engine sees all images one by one. The first `both` of them (default: all) are seen by the other engines too,
and on integer graphs spikes, readouts and costs of every step are compared between the engines, one step a call; and by
the first engine in batches of four with two threads and many steps a call, whose every step must be that of one thread.

What is done is kept in lines beside `out` (`out` with the suffix .jsonl): a command that was stopped goes on where it
was. `part=1/2` and `part=2/2` share the images out to two processes; the last one to end writes all of it into `out`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, zip_longest
from pathlib import Path

import torch
from lists import listed

from casc_det import graph as g
from casc_det.base.files import write_json
from casc_det.base.lines import append_lines
from casc_det.base.provenance import provenance
from casc_det.base.threads import stepwise
from casc_det.cli.parsing import script_options
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.file import fingerprint, load_graph
from casc_det.graph.zoo import DEFAULT, find
from casc_det.simulation import SimulationSettings, Simulator, Step
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.capture import capture
from casc_det.yolo.images import letterbox, read_image
from casc_det.yolo.install import cq_sites, install_cq
from casc_det.yolo.network import DetectionModel
from casc_det.yolo.sources import Source

BATCH = 4


def random_network(name: str, levels: int, images: torch.Tensor) -> DetectionModel:
    """A CQReLU detector in float64 whose layers are all alive on `images`."""
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", verbose=False).double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    install_cq(model, levels, "relu")
    for site in cq_sites(model):
        torch.nn.init.uniform_(site.lam, 1.5, 2.5)
    model.train()
    model(images)
    return model.eval()


@dataclass(frozen=True, eq=False)
class Subject:
    """What is compared: a graph under a name, and the network that it was made of, where that has the same values."""

    name: str
    graph: g.SpikingGraph
    network: DetectionModel | None = None

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.graph)

    @property
    def fields(self) -> dict:
        arithmetic = "whole numbers" if self.graph.integer else "float64"
        same = {"network": self.name, "graph": self.fingerprint, "arithmetic": arithmetic}
        return same | {"function": ", ".join(sorted(self.graph.functions)), "levels": self.graph.levels}


def load_images(files: list[Path], height: int, width: int) -> torch.Tensor:
    """(B, 3, H, W) float64."""
    shape = (height, width)
    return torch.stack([letterbox(read_image(file).image, shape, 32, rect=False) for file in files]).double()


def subjects(options: dict, images: torch.Tensor) -> Iterator[Subject]:
    """All that is compared; images: that random networks are made alive with."""
    for name in options["models"]:
        network = random_network(name, options["levels"], images)
        captured = capture(network)
        for function in options["functions"]:
            follow = lambda node, function=function: (
                replace(node, function=function) if isinstance(node, g.Activation) else node
            )
            graph = convert_graph(replace(captured, nodes=[follow(node) for node in captured.nodes]))[0]
            title = name if function == "relu" else f"{name}, {function}"
            yield Subject(title, graph, network if function == "relu" else None)
            yield Subject(title, to_integer(graph))
    for file in options["weights"]:
        graph = load_graph(find(file))
        yield Subject(Path(file).stem, graph if graph.integer else load_graph(find(file), torch.float64))


class Comparison:
    """A subject, as it is simulated, made ready for any number of images."""

    def __init__(self, subject: Subject, engines: list[str], burst: int | None, ramp: bool | None) -> None:
        self.subject, self.engines = subject, engines
        settings = [SimulationSettings(engine, burst=burst, ramp=ramp) for engine in engines]
        self.simulators = [Simulator(subject.graph, one) for one in settings]
        how = settings[0].of(subject.graph)
        self.fields = subject.fields | {"burst": how.burst, "ramp": how.ramp}

    @torch.no_grad()
    def of(self, images: torch.Tensor, both: bool) -> list[dict]:
        """A record for each engine, of (B, 3, H, W) images one by one; both: of all engines, not the first alone."""
        graph, engines = self.subject.graph, self.engines if both else self.engines[:1]
        zeros = dict.fromkeys(
            ("neurons", "different", "values", "values_different", "readout", "largest_T", "sum_T"), 0
        )
        records = [{"engine": engine, **zeros} for engine in engines]
        if compared := graph.integer and len(engines) > 1:
            records[0] |= dict.fromkeys(("steps", "steps_different", "spikes_compared", "spikes_different"), 0)
        alone: list[list[list[torch.Tensor]]] = []
        for image in images.to(graph.dtype).split(1):
            ann = ann_forward(graph, image)
            run = one_by_one if compared else Simulator.run
            runs = [stepwise(1, run(one, image)) for one in self.simulators[: len(engines)]]
            alone.append([])
            last: list[Step | None] = [None] * len(runs)
            for steps in zip_longest(*runs):
                last = [step or before for step, before in zip(steps, last, strict=True)]
                if compared:
                    add_comparison(records[0], *steps[:2])
                if both and steps[0]:
                    alone[-1].append(of_image(steps[0], 0))
            for record, step in zip(records, last, strict=True):
                against_ann(record, step, ann)
            if self.subject.network is not None:
                error = source_error(self.subject, image, ann)
                records[0]["source_network"] = max(records[0].get("source_network", 0.0), error)
        if both and graph.integer:
            records[0] |= self.batched(images.to(graph.dtype), alone)
        return records

    def batched(self, images: torch.Tensor, alone: list[list[list[torch.Tensor]]]) -> dict:
        """Steps of single images, and how many the batch with two threads has otherwise."""
        different, rests = 0, [len(own) for own in alone]
        for t, step in enumerate(stepwise(2, self.simulators[0].run(images))):
            for i, own in enumerate(alone):
                different += t < len(own) and not all(map(torch.equal, of_image(step, i), own[t]))
        return {"batched": sum(rests), "batched_different": different + abs(t + 1 - max(rests))}


def one_by_one(simulator: Simulator, image: torch.Tensor) -> Iterator[Step]:
    """The steps to quiescence, with their spikes, each a call of its own: recording several at once takes memory."""
    state = simulator.start(image)
    while not bool(state.quiescent.all()):
        state, steps = simulator.advance(state, 1, record=True)
        yield from steps


def of_image(step: Step, i: int) -> list[torch.Tensor]:
    """What a step says of an image."""
    costs = [step.fired[..., i], step.messages[..., i], step.sops_by_layer[..., i], step.peaks[..., i]]
    return [*costs, step.quiescent[i], *(value[i] for value in step.readout.values())]


def against_ann(record: dict, step: Step, ann) -> None:
    """Add what differs from the ANN at the last step."""
    assert bool(step.quiescent.all())
    record["neurons"] += sum(n.numel() for n in ann.counts.values())
    record["different"] += sum(int((step.counts[k] != n).sum()) for k, n in ann.counts.items())
    gaps = [(step.readout[k] - y).abs() for k, y in ann.readout.items()]
    record["values"] += sum(gap.numel() for gap in gaps)
    record["values_different"] += sum(int((gap != 0).sum()) for gap in gaps)
    record["readout"] = max(record["readout"], *(float(gap.max()) for gap in gaps))
    record["largest_T"] = max(record["largest_T"], step.t)
    record["sum_T"] += step.t


def add_comparison(record: dict, one: Step | None, other: Step | None) -> None:
    """Add whether two engines differ in anything at a step, and in how many spikes; None: one ended before."""
    record["steps"] += 1
    if one is None or other is None:
        record["steps_different"] += 1
        return
    record["steps_different"] += not all(map(torch.equal, of_image(one, 0), of_image(other, 0)))
    for name, spikes in one.spikes.items():
        record["spikes_compared"] += spikes.numel()
        record["spikes_different"] += int((spikes != other.spikes[name]).sum())


def source_error(subject: Subject, image: torch.Tensor, ann) -> float:
    """The largest difference of a value from the network that the graph was made of."""
    raw, levels = subject.network(image)[1], range(len(subject.graph.strides))
    mine = lambda key: torch.cat([ann.readout[f"{key}{i}"].flatten(2) for i in levels], 2)
    return max(float((mine(key) - raw[key]).abs().max()) for key in ("boxes", "scores"))


KEY = ("network", "graph", "arithmetic", "function", "levels", "burst", "ramp", "size", "engine")
PART = ("source", "first", "pictures")  # which images
LARGEST = ("readout", "largest_T", "source_network")


def summed(lines: list[dict]) -> list[dict]:
    """One record for each network, setting, size and engine, of those of their images, each of which counts once."""
    ordered = sorted(lines, key=lambda line: (line["both"], line["pictures"]))
    once = {tuple(line[key] for key in (*KEY, "source", "first")): line for line in ordered}
    result: dict[tuple, dict] = {}
    for line in once.values():
        record = result.setdefault(tuple(line[key] for key in KEY), {key: line[key] for key in KEY} | {"pictures": 0})
        record["pictures"] += line["pictures"]
        for key, value in line.items():
            if key not in (*KEY, *PART, "both", "sha256"):
                record[key] = max(record.get(key, 0), value) if key in LARGEST else record.get(key, 0) + value
    for record in result.values():
        record["mean_T"] = record.pop("sum_T") / record["pictures"]
    return list(result.values())


def read_done(file: Path) -> list[dict]:
    """The lines of a file that other processes may be writing to."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def read_options(words: list[str]) -> dict:
    options = {"limit": 20, "both": None, "levels": 4, "models": "yolov3-tiny,yolov5n,yolov8n", "functions": "relu"}
    options |= {"weights": f"{DEFAULT}-float,{DEFAULT}", "sizes": "320,256x320", "burst": None, "ramp": None}
    options |= {"engine": "fast", "part": "1/1", "out": "exactness.json"}
    options |= script_options(words, __doc__, "source")
    for key in ("models", "functions", "weights", "sizes", "engine"):
        options[key] = listed(options[key])
    options["burst"] = listed(options["burst"]) or [None]
    options["both"] = options["limit"] if options["both"] is None else options["both"]
    return options


def measure(options: dict, lines: Path) -> None:
    """Append what is not done yet to the lines."""
    turn, parts = map(int, options["part"].split("/"))
    place_of = lambda line: tuple(line[key] for key in (*KEY[:-1], *PART))
    done = {(place_of(line), line["both"]) for line in read_done(lines)}
    files = Source(options["source"]).files[: options["limit"]]
    firsts = list(range(0, len(files), BATCH))[turn - 1 :: parts]
    for size in map(str, options["sizes"]):
        height, width = ([int(v) for v in size.split("x")] * 2)[:2]
        place = {"size": f"{height}x{width}", "source": Path(options["source"]).name}
        for subject in subjects(options, load_images(files[:BATCH], height, width)):
            compared = [Comparison(subject, options["engine"], burst, options["ramp"]) for burst in options["burst"]]
            for comparison, first in product(compared, firsts):
                some, both = files[first : first + BATCH], first < options["both"]
                fields = comparison.fields | place | {"first": first, "pictures": len(some)}
                if {(place_of(fields), True), (place_of(fields), both)} & done:
                    continue
                records = comparison.of(load_images(some, height, width), both)
                append_lines(lines, [fields | {"both": both} | record for record in records])
                title = f"{fields['network']}, burst {fields['burst']}, {size}"
                print(f"{title}: to image {first + len(some)}", flush=True)


def main() -> None:
    options = read_options(sys.argv[1:])
    torch.set_num_threads(1)  # but for batches
    out = Path(options["out"])
    lines = out.with_suffix(".jsonl")
    measure(options, lines)
    settings = {key: options[key] for key in ("limit", "both", "levels", "models", "functions", "sizes", "engine")}
    settings["source"] = Path(options["source"]).name
    records = summed(read_done(lines))
    write_json(out, {"settings": settings, "networks": records, "made": provenance("exactness 2")})
    for record in records:
        print({key: value for key, value in record.items() if key != "graph"})


if __name__ == "__main__":
    main()
