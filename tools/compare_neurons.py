"""Mean relative readout error of the spiking network against its ANN over time, for neurons and schedules.

    python tools/compare_neurons.py source=../shared/data/coco-mini/images/val2017 [weights=...] [limit=50]
        [imgsz=320] [timesteps=8,16,24,32,48,64] [precision=float32] [out=neurons.json]

Error: |y(t) - y_ann| / |y_ann|, Euclidean norms over all readout values of a picture, mean over pictures.
IF without sleep: constant input, plain integrate-and-fire. IF with sleep: the same under WSC. CIF without sleep:
constant input. CIF with WSC: the method of casc_det; the only one that has to reach zero.
"""

import json
import sys
from pathlib import Path

import torch

from casc_det import SpikingYOLO
from casc_det.ann import ann_forward
from casc_det.cli import parse_pairs
from casc_det.engine import simulate
from casc_det.yolo.sources import Source, letterbox

VARIANTS = {
    "IF without sleep": ("if", "constant"),
    "IF with sleep": ("if", "wsc"),
    "CIF without sleep": ("cif", "constant"),
    "CIF with WSC": ("cif", "wsc"),
}


def flat(readout) -> torch.Tensor:
    return torch.cat([y.flatten() for y in readout.values()]).double()


@torch.no_grad()
def main():
    options = {"weights": None, "limit": 50, "imgsz": 320, "timesteps": "8,16,24,32,48,64", "precision": "float32"}
    options |= {"out": "neurons.json"} | parse_pairs(sys.argv[1:])
    steps = options["timesteps"]
    steps = [int(t) for t in (steps.split(",") if isinstance(steps, str) else steps)]
    model = SpikingYOLO(options["weights"], precision=options["precision"])
    size, pictures = (options["imgsz"], options["imgsz"]), Source(options["source"]).files[: options["limit"]]
    errors = {name: {t: [] for t in steps} for name in VARIANTS}
    for number, file in enumerate(pictures, 1):
        image = next(iter(Source(file))).image
        x = letterbox(image, size, 32)[None].to(model.dtype)
        target = flat(ann_forward(model.graph, x, keep_counts=False).readout)
        for name, (neuron, schedule) in VARIANTS.items():
            for step in simulate(model.graph, x, max(steps), neuron, schedule):
                if step.t in errors[name]:
                    errors[name][step.t].append(float((flat(step.readout) - target).norm() / target.norm()))
        print(f"\r{number}/{len(pictures)} pictures", end="", flush=True)
    table = {name: {t: sum(v) / len(v) for t, v in row.items()} for name, row in errors.items()}
    settings = {**options, "source": Path(options["source"]).name, "pictures": len(pictures)}
    Path(options["out"]).write_text(json.dumps({"settings": settings, "relative_error": table}, indent=1) + "\n")
    print("\n| neuron and schedule | " + " | ".join(f"T = {t}" for t in steps) + " |")
    print("| --- |" + " --- |" * len(steps))
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(f"{row[t]:.2g}" for t in steps) + " |")


if __name__ == "__main__":
    main()
