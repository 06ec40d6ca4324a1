"""Mean relative readout error of the spiking network against its ANN over time, for neurons and schedules.

    python tools/compare_neurons.py source=coco-mini/images/val2017 [weights=...] [limit=50]
        [imgsz=320] [timesteps=8,16,24,32,48,64] [workers=2] [out=neurons.json]

Error: |y(t) - y_ann| / |y_ann|, Euclidean norms over all readout values of an image, mean over images.
IF without sleep: constant input, plain integrate-and-fire. IF with sleep: the same under WSC. CIF without sleep:
constant input. CIF with WSC: the method of casc_det; the only one that has to reach zero. Images are shared out among
`workers` processes of one thread.
"""

import multiprocessing
import sys
from pathlib import Path

import torch

from casc_det import SpikingYOLO
from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.simulation import SimulationSettings, Simulator
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.images import letterbox, read_image
from casc_det.yolo.sources import Source

VARIANTS = {
    "IF without sleep": ("if", "constant"),
    "IF with sleep": ("if", "wsc"),
    "CIF without sleep": ("cif", "constant"),
    "CIF with WSC": ("cif", "wsc"),
}


def flat(readout) -> torch.Tensor:
    return torch.cat([y.flatten() for y in readout.values()]).double()


WORKER = {}


def start_worker(options):
    torch.set_num_threads(1)
    model = SpikingYOLO(options["weights"])
    settings = {name: SimulationSettings(neuron=neuron, schedule=how) for name, (neuron, how) in VARIANTS.items()}
    WORKER["model"] = model
    WORKER["simulators"] = {name: Simulator(model.graph, one) for name, one in settings.items()}


@torch.no_grad()
def measure(task) -> dict:
    """Relative errors of one image, {variant: {step: error}}."""
    file, size, steps = task
    model = WORKER["model"]
    x = letterbox(read_image(file).image, size, 32)[None].to(model.dtype)
    target = flat(ann_forward(model.graph, x, keep_counts=False).readout)
    errors = {}
    for name, simulator in WORKER["simulators"].items():
        errors[name] = {}
        for step in simulator.run(x, max(steps)):
            if step.t in steps:
                errors[name][step.t] = float((flat(step.readout) - target).norm() / target.norm())
            if bool(step.quiescent.all()):  # later steps change nothing
                error = float((flat(step.readout) - target).norm() / target.norm())
                errors[name] |= {t: error for t in steps if t > step.t}
                break
    return errors


def main():
    options = {"weights": None, "limit": 50, "imgsz": 320, "timesteps": (8, 16, 24, 32, 48, 64)}
    options |= {"workers": 2, "out": "neurons.json"} | script_options(sys.argv[1:], __doc__, "source")
    steps, size = list(options["timesteps"]), (options["imgsz"], options["imgsz"])
    images = Source(options["source"]).files[: options["limit"]]
    results = []
    with multiprocessing.get_context("spawn").Pool(options["workers"], start_worker, (options,)) as pool:
        for result in pool.imap_unordered(measure, [(file, size, steps) for file in images]):
            results.append(result)
            print(f"\r{len(results)}/{len(images)} pictures", end="", flush=True)
    table = {name: {str(t): sum(r[name][t] for r in results) / len(results) for t in steps} for name in VARIANTS}
    same = {"source": Path(options["source"]).name, "pictures": len(images), "imgsz": options["imgsz"]}
    content = {"settings": same, "relative_error": table, "made": provenance("compare_neurons 1")}
    write_json(options["out"], content)
    print("\n| neuron and schedule | " + " | ".join(f"T = {t}" for t in steps) + " |")
    print("| --- |" + " --- |" * len(steps))
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{row[str(t)]:.2g}" for t in steps) + " |")


if __name__ == "__main__":
    main()
