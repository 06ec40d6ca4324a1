"""Count the neurons and readout values in which spiking network and ANN differ at quiescence, in float64.

    python tools/check_exactness.py source=../shared/data/coco-mini/images/val2017 [limit=20] [levels=4]
        [models=yolov3-tiny,yolov5n,yolov8n] [weights=weights/yolov8n-cq16.safetensors]
        [sizes=320,256x320] [out=exactness.json]

The networks in `models` have random weights, BatchNorm statistics of the pictures and clips drawn from 1.5 to 2.5,
so that every layer is alive; their spiking graph is compared with Ultralytics' own forward pass as well (a). The
shipped weights are compared with their ANN twin.
"""

import json
import sys
from pathlib import Path

import torch

from casc_det.ann import ann_forward
from casc_det.cli import parse_pairs
from casc_det.engine import simulate
from casc_det.model import DEFAULT_WEIGHTS, convert
from casc_det.storage import load_graph
from casc_det.yolo.capture import DetectionModel
from casc_det.yolo.install import cqrelu_sites, install_cqrelu
from casc_det.yolo.sources import Source, letterbox


def random_network(name: str, levels: int, pictures: torch.Tensor) -> DetectionModel:
    """A CQReLU detector in float64 whose layers are all alive on `pictures`."""
    torch.manual_seed(0)
    model = DetectionModel(f"{name}.yaml", verbose=False).double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    install_cqrelu(model, levels)
    for site in cqrelu_sites(model):
        torch.nn.init.uniform_(site.lam, 1.5, 2.5)
    model.train()
    model(pictures)
    return model.eval()


@torch.no_grad()
def main():
    options = {"limit": 20, "levels": 4, "models": "yolov3-tiny,yolov5n,yolov8n", "weights": str(DEFAULT_WEIGHTS)}
    options |= {"sizes": "320,256x320", "out": "exactness.json"} | parse_pairs(sys.argv[1:])
    images = [next(iter(Source(file))).image for file in Source(options["source"]).files[: options["limit"]]]
    records = []
    for size in str(options["sizes"]).split(","):
        height, width = ([int(v) for v in size.split("x")] * 2)[:2]
        batch = torch.stack([letterbox(image, (height, width), 32, rect=False) for image in images]).double()
        for name in [*str(options["models"]).split(","), options["weights"]]:
            network = None
            if name.endswith(".safetensors"):
                graph = load_graph(name, torch.float64)
            else:
                network = random_network(name, options["levels"], batch[:4])
                graph = convert(network, max(height, width)).graph
            total = {"network": Path(name).stem, "size": f"{height}x{width}", "pictures": len(batch), "neurons": 0}
            total |= {"different": 0, "readout": 0.0, "source_network": 0.0, "largest_T": 0}
            for x in batch.split(1):
                ann = ann_forward(graph, x)
                *_, step = simulate(graph, x)
                total["neurons"] += sum(n.numel() for n in ann.counts.values())
                total["different"] += sum(int((step.counts[k] != n).sum()) for k, n in ann.counts.items())
                error = max(float((step.readout[k] - y).abs().max()) for k, y in ann.readout.items())
                total["readout"] = max(total["readout"], error)
                total["largest_T"] = max(total["largest_T"], step.t)
                assert bool(step.quiescent.all())
                if network is not None:
                    raw = network(x)[1]
                    for key in ("boxes", "scores"):
                        mine = torch.cat([ann.readout[f"{key}{i}"].flatten(2) for i in range(len(graph.strides))], 2)
                        total["source_network"] = max(total["source_network"], float((mine - raw[key]).abs().max()))
            records.append(total)
            print(total, flush=True)
    settings = {**options, "weights": Path(options["weights"]).name, "source": Path(options["source"]).name}
    Path(options["out"]).write_text(json.dumps({"settings": settings, "networks": records}, indent=1) + "\n")


if __name__ == "__main__":
    main()
