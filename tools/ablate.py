"""What each part of the training recipe is worth: short trainings with equal budgets, one part changed at a time.

    python tools/ablate.py data=images weights=float.safetensors teacher=float.safetensors \\
        val=coco/annotations/instances_val2017.json [names=data/coco.yaml] [limit=213] [val_imgsz=320] [only=base,hard]
        [out=ablation.json] [project=runs/ablate] [epochs=3] [imgsz=320] [batch=16] [any other argument of train]

Each row starts from the same float weights, sees the same images in the same order, and is scored by the mAP of its
CQReLU ANN (real-valued) and of its integer graph's ANN, to which the spiking network comes at rest, beside its mean
count per neuron and the spiking network's energy at rest. `val` is never trained on. Rows that `out` holds already are
kept: run it again after a break. With `model=best.pt progressive=0 epochs=2 lr0=1.5e-4` rows go on from a checkpoint.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional as F

from casc_det.base.files import write_json
from casc_det.base.provenance import provenance
from casc_det.cli.parsing import script_options
from casc_det.evaluation.classes import mapped, match_classes
from casc_det.evaluation.coco import evaluate_coco, to_results
from casc_det.evaluation.energy import EnergyModel, energy_mj
from casc_det.evaluation.networks import scoring
from casc_det.evaluation.truth import limited, read_truth
from casc_det.graph import moved
from casc_det.heads.detect.decode import DetectHead
from casc_det.simulation import Simulator
from casc_det.simulation.cost import count_operations
from casc_det.simulation.twin import ann_forward
from casc_det.training.trainer import CascTrainer
from casc_det.yolo.convert import convert
from casc_det.yolo.images import in_original, letterbox, read_image
from casc_det.yolo.install import cq_sites
from casc_det.yolo.progress import Progress

BASE = {"levels": 16, "progressive": 0.4, "epochs": 3, "imgsz": 320, "batch": 16, "nbs": 16, "optimizer": "AdamW"}
BASE |= {
    "lr0": 1e-4,
    "norm_lr": 1e-3,
    "clip_lr": 1e-3,
    "lrf": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "cos_lr": True,
    "warmup_epochs": 0.3,
}
BASE |= {"warmup_bias_lr": 0.0, "amp": "bf16", "mosaic": 0.3, "close_mosaic": 1, "cache": "ram", "seed": 0}
BASE |= {"plots": False, "val": False, "model": "yolov8n.yaml", "exist_ok": True}

SIMULATED = 20  # images whose energy is measured


class FrozenBatchNorm(nn.BatchNorm2d):
    """Uses its running statistics in training, too."""

    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class FoldedTrainer(CascTrainer):
    """BatchNorm stays folded: a bias and a scale per channel, nothing is normalised."""

    def load_weights(self, images):
        super().load_weights(images)
        for norm in self.model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.bias.data -= norm.running_mean
                norm.weight.data.fill_(1)
                norm.running_mean.zero_()
                norm.running_var.fill_(1 - norm.eps)

    def _setup_train(self):
        super()._setup_train()
        for norm in self.model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.__class__ = FrozenBatchNorm


class ReLUTrainer(CascTrainer):
    """CQReLU is blended in from ReLU, not from SiLU."""

    def _setup_train(self):
        super()._setup_train()
        for site in cq_sites(self.model):
            site.original = nn.ReLU()


ROWS = {
    "base": ("progressive activation, distillation of features and head, learned clips, BatchNorm restored", {}),
    "one rate": ("one learning rate, 4e-4, for weights, biases and BatchNorm", {"lr0": 4e-4, "norm_lr": None}),
    "hard": ("hard swap to CQReLU at the start", {"progressive": 0}),
    "head": ("without distillation of features", {"features": 0}),
    "clips": ("fixed clips", {"clip_lr": 0}),
    "folded": ("BatchNorm stays folded", {"trainer": FoldedTrainer}),
    "relu": ("CQReLU blended in from ReLU", {"trainer": ReLUTrainer}),
    "int8": ("8-bit weights in the last third", {"fake_int8": 0.34}),
    "q8": ("Q = 8", {"levels": 8}),
    "q4": ("Q = 4", {"levels": 4}),
    "sparsity0.02": ("penalty on counts 0.02", {"sparsity": 0.02}),
    "sparsity0.05": ("penalty on counts 0.05", {"sparsity": 0.05}),
    "sparsity0.1": ("penalty on counts 0.1", {"sparsity": 0.1}),
    "sparsity0.5": ("penalty on counts 0.5", {"sparsity": 0.5}),
    "sparsity2": ("penalty on counts 2", {"sparsity": 2.0}),
    "sparsity8": ("penalty on counts 8", {"sparsity": 8.0}),
}


@torch.no_grad()
def score_ann(graph, truth, size: int, bar) -> dict:
    """mAP of the ANN of a spiking graph, its mean count per neuron, and energy at rest of the SNN in ANNs."""
    classes, found, counts, neurons = match_classes(graph.names, truth.names, None), [], 0.0, 0
    operations, model, spent = count_operations(graph, size, size), EnergyModel(), []
    simulator = Simulator(graph) if graph.integer else None
    for i, image in enumerate(truth.images):
        frame = read_image(image.path)
        x = letterbox(frame.image, (size, size), max(graph.strides), False)[None]
        ann = ann_forward(graph, x.to(graph.dtype))
        (answer,) = DetectHead.of(graph).answers(ann.readout, scoring(classes))
        found.append(mapped(in_original(answer, x.shape[2:], frame.image.shape), classes))
        counts += sum(float(n.sum()) for n in ann.counts.values())
        neurons += sum(n.numel() for n in ann.counts.values())
        if simulator and i < SIMULATED:
            sops = [float(step.sops[0]) for step in simulator.run(x.to(graph.dtype))]
            spent.append(
                energy_mj(operations.snn_macs(len(sops), simulator.settings.plan(graph).wake), sum(sops), model)
            )
        bar.images(i + 1, len(truth.images))
    scored = [i for i in range(len(truth.names)) if truth.names[i] not in classes.missing]
    values = evaluate_coco(truth, to_results(truth, found), scored)[0]
    result = {"mAP50-95": values["mAP50-95"], "mAP50": values["mAP50"], "count": counts / neurons}
    return result | ({"energy": sum(spent) / len(spent) / energy_mj(operations.ann_macs, 0, model)} if spent else {})


def run_row(name: str, options: dict, truth, size: int) -> dict:
    what, changes = ROWS[name]
    settings = {**options, **changes, "name": name}
    trainer = settings.pop("trainer", CascTrainer)(overrides={**settings, "task": "detect", "mode": "train"})
    start = perf_counter()
    trainer.train()
    row = {"name": name, "what": what, "changed": {k: v for k, v in changes.items() if k != "trainer"}}
    row["minutes"] = (perf_counter() - start) / 60
    with Progress(name) as bar:
        for kind, precision in (("real", "float"), ("integer", "integer")):
            graph = convert(trainer.ema.ema, options["imgsz"], precision).graph
            row[kind] = score_ann(moved(graph, torch.float32), truth, size, bar)
    return row


def main(words: list[str]) -> None:
    options = {**BASE, "project": "runs/ablate", **script_options(words, __doc__)}
    only = str(options.pop("only", ",".join(ROWS))).split(",")
    unknown = [name for name in only if name not in ROWS]
    if unknown or "val" not in script_options(words, __doc__):
        sys.exit(f"ablate: {'no row ' + unknown[0] if unknown else 'val is missing'}; see the top of {__file__}")
    truth = limited(read_truth(options.pop("val"), None, "val"), options.pop("limit", None))
    size, out = options.pop("val_imgsz", 320), Path(options.pop("out", "ablation.json"))
    options |= {"val": False, "project": str(Path(options["project"]).absolute())}
    content = json.loads(out.read_text()) if out.exists() else {"rows": []}
    keep = ("levels", "epochs", "imgsz", "batch", "lr0", "norm_lr", "clip_lr", "seed", "progressive", "mosaic")
    content["settings"] = {key: options[key] for key in keep}
    content["settings"] |= {"pictures": len(truth.images), "val_imgsz": size, "torch": torch.__version__}
    for name in only:
        if name not in [row["name"] for row in content["rows"]]:
            content["rows"].append(run_row(name, options, truth, size))
            write_json(out, content | {"made": provenance("ablation 1")})
            print(json.dumps(content["rows"][-1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
