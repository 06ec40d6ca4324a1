"""Does a distilled detector need more images or more training? Its losses on images it learned and on others.

    python tools/compare_losses.py weights=yolov8n-cq16-float teacher=float.safetensors data=images,more_images
        [model=yolov8n.yaml] [imgsz=320] [limit=94]

`data` as in training: the 5 % of its images that training holds out are held against as many others. If both have the
same losses, nothing is learned by heart, and longer training would help more than further images.
"""

import json
import sys

import torch

from casc_det.cli.parsing import script_options
from casc_det.graph.file import load_graph
from casc_det.graph.zoo import find
from casc_det.training.distill import mean_losses
from casc_det.yolo.data import hold_out, list_images
from casc_det.yolo.float_network import float_model
from casc_det.yolo.images import letterbox, read_image
from casc_det.yolo.install import install_cq
from casc_det.yolo.network import CQReLUModel
from casc_det.yolo.weights import load_float


def as_input(file: str, size: int) -> torch.Tensor:
    return letterbox(read_image(file).image, (size, size), 32, False)[None]


def main(words: list[str]) -> None:
    options = {"model": "yolov8n.yaml", "imgsz": 320, "limit": 94} | script_options(words, __doc__)
    missing = [key for key in ("weights", "teacher", "data") if key not in options]
    if missing:
        sys.exit(f"compare_losses: {missing[0]} is missing; see the top of {__file__}")
    path, size = find(options["weights"]), options["imgsz"]
    graph = load_graph(path)
    learned, others = hold_out(list_images(options["data"]))
    learned = learned[:: max(len(learned) // options["limit"], 1)]
    teacher = float_model(options["teacher"], options["model"], len(graph.names), "teacher")
    model = CQReLUModel(options["model"], nc=len(graph.names), verbose=False)
    install_cq(model, graph.levels, "relu")
    load_float(model, path, [as_input(file, size) for file in learned[:16]])
    model.eval()
    for name, files in (("learned", learned[: options["limit"]]), ("held out", others[: options["limit"]])):
        losses = mean_losses(model, teacher, (as_input(file, size) for file in files))
        losses = {key: round(value, 4) for key, value in losses.items()}
        print(json.dumps({"pictures": name, "number": len(files), "imgsz": size, **losses}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
