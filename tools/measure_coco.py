"""mAP of the float network, the CQReLU ANN and the spiking network on COCO pictures, for the model card.

    python tools/measure_coco.py data=../shared/data/coco-mini weights=weights/yolov8n-cq16.safetensors
        [float=../shared/weights/yolov8n-coco-fused.safetensors] [imgsz=320] [timesteps=16,32,64,auto]
        [precision=float64] [limit=213] [workers=2] [out=coco.json]

Method: square letterbox, conf 0.001, NMS IoU 0.7, several classes a cell, at most 300 boxes, pycocotools. All time
steps come from one simulation per picture, which ends at quiescence or at the largest step asked for. `auto` is the
answer at quiescence. Pictures are shared out among `workers` processes; a finished picture is not done again when the
same `out` is given (its detections lie in `out`.parts/).
"""

import contextlib
import io
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import torch

from casc_det import SpikingYOLO
from casc_det.ann import ann_forward
from casc_det.cli import parse_pairs
from casc_det.decode import DetectionSettings, decode_maps, detect
from casc_det.engine import simulate

SETTINGS = DetectionSettings(conf=0.001, iou=0.7, max_det=300, multi_label=True)


def float_network(path: str):
    """The float YOLOv8n of a state dict with folded BatchNorm."""
    from casc_det.yolo.capture import DetectionModel
    from casc_det.yolo.checkpoint import read_state

    model = DetectionModel("yolov8n.yaml", verbose=False).fuse(verbose=False).eval()
    model.load_state_dict(read_state(path), strict=False)
    return model


def float_readout(model, x):
    raw = model(x.float())[1]
    readout, start = {}, 0
    for level, stride in enumerate((8, 16, 32)):
        h, w = x.shape[2] // stride, x.shape[3] // stride
        for key in ("boxes", "scores"):
            readout[f"{key}{level}"] = raw[key][:, :, start : start + h * w].unflatten(2, (h, w))
        start += h * w
    return readout


def measure(task):
    """All rows of one picture, as COCO results without category ids, and the state of the spiking network."""
    path, image_id, options = task
    model, floats = WORKER["model"], WORKER["float"]
    graph = model.graph
    frame, x = load(path, options["imgsz"])
    x = x[None].to(model.dtype)
    steps = [t for t in options["timesteps"] if t != "auto"]
    last = "auto" if "auto" in options["timesteps"] else max(steps)
    rows, spikes, sops, start = {}, 0, 0.0, time.perf_counter()
    with torch.no_grad():
        if floats is not None:
            rows["float"] = found(float_readout(floats, x), graph, frame, x)
        ann = ann_forward(graph, x)
        rows["ann"] = found(ann.readout, graph, frame, x)
        for step in simulate(graph, x, last):
            spikes += int(sum(step.positive.values()) + sum(step.negative.values()))
            sops += float(step.sops)
            ended = bool(step.quiescent.all())
            if step.t in steps:
                rows[f"snn {step.t}"] = found(step.readout, graph, frame, x)
            if ended or step.t == last:
                break
    final = found(step.readout, graph, frame, x)
    for t in steps:
        rows.setdefault(f"snn {t}", final)
    if last == "auto":
        rows["snn auto"] = final
    different = sum(int((step.counts[name] != n).sum()) for name, n in ann.counts.items())
    error = max(float((step.readout[name] - y).abs().max()) for name, y in ann.readout.items())
    info = {"timesteps": step.t, "quiescent": ended, "spikes": spikes, "sops": sops, "neurons_different": different}
    info |= {"readout_difference": error, "seconds": time.perf_counter() - start}
    return {"image_id": image_id, "rows": rows, "info": info}


def load(path, imgsz):
    from casc_det.yolo.sources import Source, letterbox

    frame = next(iter(Source(path)))
    return frame, letterbox(frame.image, (imgsz, imgsz), 32, rect=False)


def found(readout, graph, frame, x) -> list:
    from casc_det.yolo.results import make_results

    boxes, scores = decode_maps(readout, graph.strides, graph.reg_max)
    results = make_results(detect(boxes[0], scores[0], SETTINGS), frame, graph.names, tuple(x.shape[2:]), None)
    xywh = results.boxes.xyxy.clone()
    xywh[:, 2:] -= xywh[:, :2]
    columns = zip(results.boxes.cls.tolist(), xywh.tolist(), results.boxes.conf.tolist(), strict=True)
    return [[int(c), [round(v, 4) for v in box], round(score, 7)] for c, box, score in columns]


WORKER = {}


def start_worker(options):
    torch.set_num_threads(options["threads"])
    WORKER["model"] = SpikingYOLO(options["weights"], precision=options["precision"])
    WORKER["float"] = float_network(options["float"]) if options["float"] else None


def score(annotations, results) -> dict:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        categories = {c["name"]: c["id"] for c in truth.loadCats(truth.getCatIds())}
        names = [categories[name] for name in WORKER["model"].graph.names]
        rows = {}
        for row in results[0]["rows"]:
            entries = [
                {"image_id": r["image_id"], "category_id": names[c], "bbox": box, "score": s}
                for r in results
                for c, box, s in r["rows"][row]
            ]
            evaluation = COCOeval(truth, truth.loadRes(entries), "bbox")
            evaluation.params.imgIds = [r["image_id"] for r in results]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            rows[row] = {"mAP50-95": float(evaluation.stats[0]), "mAP50": float(evaluation.stats[1])}
    return rows


def main():
    given = parse_pairs(sys.argv[1:])
    options = {"weights": None, "float": None, "imgsz": 320, "timesteps": "16,32,64,auto", "precision": "float64"}
    options |= {"limit": None, "workers": 2, "threads": 1, "out": "coco.json", "split": "val2017"} | given
    steps = options["timesteps"]
    steps = steps.split(",") if isinstance(steps, str) else steps if isinstance(steps, list | tuple) else [steps]
    options["timesteps"] = [t if t == "auto" else int(t) for t in steps]
    root, split = Path(options["data"]), options["split"]
    annotations = root / "annotations" / f"instances_{split}.json"
    images = sorted(json.loads(annotations.read_text())["images"], key=lambda image: image["id"])[: options["limit"]]
    parts = Path(f"{options['out']}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    tasks = [(str(root / "images" / split / i["file_name"]), i["id"], options) for i in images]
    left = [task for task in tasks if not (parts / f"{task[1]}.json").exists()]
    context = multiprocessing.get_context("spawn")
    with context.Pool(options["workers"], start_worker, (options,)) as pool:
        for number, result in enumerate(pool.imap_unordered(measure, left), 1):
            (parts / f"{result['image_id']}.json").write_text(json.dumps(result))
            print(f"\r{number}/{len(left)} pictures, T = {result['info']['timesteps']}  ", end="", flush=True)
    results = [json.loads((parts / f"{task[1]}.json").read_text()) for task in tasks]
    start_worker(options | {"float": None})
    rows = score(str(annotations), results)
    info = {key: [r["info"][key] for r in results] for key in results[0]["info"]}
    summary = {f"{key}_mean": float(np.mean(values)) for key, values in info.items()}
    summary |= {f"{key}_max": float(np.max(values)) for key, values in info.items()}
    summary["neurons_different_sum"] = int(np.sum(info["neurons_different"]))
    machine = {"torch": torch.__version__, "workers": options["workers"], "threads": options["threads"]}
    content = {"settings": {**options, "data": root.name, "pictures": len(results)}, "machine": machine}
    Path(options["out"]).write_text(json.dumps(content | {"rows": rows, "spiking": summary}, indent=1) + "\n")
    print()
    for row, values in rows.items():
        print(f"{row:<10} mAP50-95 {values['mAP50-95']:.4f}  mAP50 {values['mAP50']:.4f}")
    for key, value in summary.items():
        print(f"{key:<28} {value:.6g}")


if __name__ == "__main__":
    main()
