"""Count the neurons and readout values in which spiking network and ANN differ at quiescence.

    python tools/check_exactness.py source=coco-mini/images/val2017 [limit=20] [levels=4]
        [models=yolov3-tiny,yolov5n,yolov8n or none] [weights=a.safetensors,b.safetensors] [sizes=320,256x320]
        [engine=fast,reference] [out=exactness.json]

The networks in `models` have random weights, BatchNorm statistics of the images and clips drawn from 1.5 to 2.5,
so that every layer is alive; their real-valued spiking graph (float64) is compared with Ultralytics' own forward pass
as well, and their integer graph (float32) is made of it. The files in `weights` (default: the shipped ones) are
compared with their ANN twin. With both engines the spikes of every step are compared, too, on integer graphs.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.conversion.integer import to_integer
from casc_det.graph.file import load_graph
from casc_det.graph.zoo import DEFAULT, find
from casc_det.simulation import SimulationSettings, Simulator
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.convert import convert
from casc_det.yolo.images import letterbox
from casc_det.yolo.install import cq_sites, install_cq
from casc_det.yolo.network import DetectionModel
from casc_det.yolo.sources import Source


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


def graphs(options: dict, batch: torch.Tensor, size: int):
    """(name, spiking graph, network it was made of or None) for all that is to be compared."""
    for name in str(options["models"]).split(",") if options["models"] else ():
        network = random_network(name, options["levels"], batch[:4])
        graph = convert(network, size, precision="float").graph
        yield name, graph, network
        yield name, to_integer(graph), None
    for file in str(options["weights"]).split(","):
        graph = load_graph(file)
        yield Path(file).stem, graph if graph.integer else load_graph(file, torch.float64), None


@torch.no_grad()
def compare(graph, network, batch: torch.Tensor, engines: list[str]) -> Iterator[dict]:
    """A record for each engine."""
    totals = [{"engine": engine, "neurons": 0, "different": 0, "readout": 0.0, "largest_T": 0} for engine in engines]
    spikes = graph.integer and len(engines) > 1
    if spikes:
        totals[0] |= {"spikes_compared": 0, "spikes_different": 0}
    simulators = [Simulator(graph, SimulationSettings(engine)) for engine in engines]
    for x in batch.to(graph.dtype).split(1):
        ann = ann_forward(graph, x)
        runs = [simulator.run(x, record=spikes) for simulator in simulators]
        for steps in zip(*runs, strict=True):
            for name in steps[0].spikes if spikes else ():
                first, second = (step.spikes[name] for step in steps)
                totals[0]["spikes_compared"] += first.numel()
                totals[0]["spikes_different"] += int((first != second).sum())
        for total, step in zip(totals, steps, strict=True):
            assert bool(step.quiescent.all())
            total["neurons"] += sum(n.numel() for n in ann.counts.values())
            total["different"] += sum(int((step.counts[k] != n).sum()) for k, n in ann.counts.items())
            error = max(float((step.readout[k] - y).abs().max()) for k, y in ann.readout.items())
            total["readout"] = max(total["readout"], error)
            total["largest_T"] = max(total["largest_T"], step.t)
        if network is not None:
            raw = network(x)[1]
            for key in ("boxes", "scores"):
                mine = torch.cat([ann.readout[f"{key}{i}"].flatten(2) for i in range(len(graph.strides))], 2)
                error = float((mine - raw[key]).abs().max())
                totals[0]["source_network"] = max(totals[0].get("source_network", 0.0), error)
    yield from totals


def main():
    shipped = [find(f"{DEFAULT}-float"), find(DEFAULT)]
    options = {
        "limit": 20,
        "levels": 4,
        "models": "yolov3-tiny,yolov5n,yolov8n",
        "weights": ",".join(map(str, shipped)),
    }
    options |= {"sizes": "320,256x320", "engine": "fast", "out": "exactness.json"}
    options |= script_options(sys.argv[1:], __doc__, "source")
    engines = options["engine"].split(",") if isinstance(options["engine"], str) else list(options["engine"])
    images = [next(iter(Source(file))).image for file in Source(options["source"]).files[: options["limit"]]]
    settings = {key: options[key] for key in ("limit", "levels", "models", "sizes", "engine")}
    settings["source"], records = Path(options["source"]).name, []
    for size in str(options["sizes"]).split(","):
        height, width = ([int(v) for v in size.split("x")] * 2)[:2]
        batch = torch.stack([letterbox(image, (height, width), 32, rect=False) for image in images]).double()
        for name, graph, network in graphs(options, batch, max(height, width)):
            for record in compare(graph, network, batch, engines):
                kind = "whole numbers" if graph.integer else "float64"
                records.append(
                    {"network": name, "arithmetic": kind, "size": f"{height}x{width}", "pictures": len(batch)}
                )
                records[-1] |= record
                print(records[-1], flush=True)
                write_json(
                    options["out"], {"settings": settings, "networks": records, "made": provenance("exactness 1")}
                )


if __name__ == "__main__":
    main()
