"""The verbs of the command line: what each one takes, and the one function of the library that it calls."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from casc_det.errors import ArgumentError


@dataclass(frozen=True)
class Option:
    """default None means: not given. help says the unit and the range."""

    default: object
    help: str


@dataclass(frozen=True)
class Verb:
    run: Callable[[dict], int]
    summary: str
    example: str
    options: dict[str, Option]
    more: frozenset[str] = frozenset()  # further keys that are handed on
    more_help: str = ""


SAVING = {
    "project": Option("runs/detect", "folder of the run folders"),
    "name": Option(None, "name of the run folder; default: the verb, numbered"),
    "exist_ok": Option(False, "write into the run folder even if it exists"),
}
PRECISION = Option(
    None, "float32 or float64; default: float32 for integer graphs, float64 (exact) for real-valued ones"
)
ENGINE = Option("fast", "fast, or reference: step by step; the same spikes")
DETECTING = {
    "weights": Option(None, "spiking graph: a .safetensors file, or a name of casc-det models [yolov8n-cq16]"),
    "timesteps": Option("auto", "number of time steps, or auto: until quiescent, when the answer is the ANN's"),
    "conf": Option(0.25, "smallest score of a box, 0..1"),
    "iou": Option(0.7, "NMS: boxes of one class overlapping by more than this are one, 0..1"),
    "imgsz": Option(None, "longest side in pixels, or [height,width]; default: that of the weights"),
    "device": Option("cpu", "cpu, cuda, cuda:0, 0, ..."),
}


def run_predict(options: dict) -> int:
    from casc_det.files import run_folder
    from casc_det.model import SpikingYOLO
    from casc_det.runs import count_boxes, predict_to_folder
    from casc_det.yolo.progress import Progress
    from casc_det.zoo import DEFAULT

    folder = run_folder(options.pop("project"), options.pop("name") or "predict", options.pop("exist_ok"))
    made_with = {key: options.pop(key) for key in ("weights", "device", "precision", "engine")}
    model = SpikingYOLO(**made_with)
    made_with["weights"] = str(made_with["weights"] or DEFAULT)
    made_with["precision"] = str(model.dtype).removeprefix("torch.")
    source, json_to_screen = options.pop("source"), options.pop("json")
    if isinstance(options["timesteps"], int) and 0 < options["timesteps"] < model.graph.levels:
        print(
            f"note: the picture is still being injected before T = {model.graph.levels}; expect few boxes",
            file=sys.stderr,
        )
    with Progress("predict") as bar:
        content = predict_to_folder(model, source, folder, bar.frame, settings=made_with, **options)
    results, skipped = content["results"], f", {len(content['skipped'])} skipped" if content["skipped"] else ""
    if json_to_screen:
        print((folder / "predictions.json").read_text(), end="")
        return 130 if content["interrupted"] else 0
    for result in results if len(results) <= 50 and all(r["frame"] is None for r in results) else []:
        info = result["spiking"]
        rest = ", at rest" if info["quiescent"] else ""
        print(
            f"{result['path']}: {result['summary']}, T = {info['timesteps']}{rest}, {info['spikes'] / 1e6:.1f} M spikes"
        )
    kind = "frame" if any(r["frame"] for r in results) else "picture"
    seen = f"{len(results)} {kind}{'' if len(results) == 1 else 's'}"
    boxes = count_boxes(sum(len(r["boxes"]) for r in results))
    print(f"{'interrupted after ' if content['interrupted'] else ''}{seen}, {boxes}{skipped}; written to {folder}")
    return 130 if content["interrupted"] else 0


def run_demo(options: dict) -> int:
    from casc_det.files import run_folder
    from casc_det.model import SpikingYOLO
    from casc_det.runs import count_boxes, demo_to_folder, verdict
    from casc_det.yolo.progress import Progress, demo_picture

    folder = run_folder(options.pop("project"), options.pop("name") or "demo", options.pop("exist_ok"))
    model = SpikingYOLO(*(options.pop(key) for key in ("weights", "device", "precision", "engine")))
    source = options.pop("source") or demo_picture()
    with Progress("time steps") as bar:
        report = demo_to_folder(model, source, folder, bar.step, **options)
    print("   T  boxes  spikes (M)  SOPs (G)")
    levels, last = model.graph.levels, report.steps[-1]
    for step in report.steps:
        t = step["spiking"]["timesteps"]
        if t in (1, levels // 2, levels) or t % levels == 0 or step is last:
            info = step["spiking"]
            print(f"{t:4d}  {len(step['boxes']):5d}  {info['spikes'] / 1e6:10.2f}  {info['sops'] / 1e9:8.2f}")
    for box in last["boxes"]:
        corners = ", ".join(f"{v:.1f}" for v in box["box"])
        print(f"  {box['name']:<14} {box['confidence']:.3f}  [{corners}]")
    rest = "quiescent" if last["spiking"]["quiescent"] else "not yet quiescent"
    text = f"{count_boxes(len(last['boxes']))}, {verdict(report.difference)}"
    print(f"SNN at T = {last['spiking']['timesteps']} ({rest}): {text}")
    print(f"Picture: {report.picture}")
    return 0


def run_val(options: dict) -> int:
    from casc_det.evaluation.energy import EnergyModel
    from casc_det.evaluation.report import table, write_csv
    from casc_det.model import SpikingYOLO
    from casc_det.yolo.progress import Progress

    model = SpikingYOLO(*(options.pop(key) for key in ("weights", "device", "precision", "engine")))
    strict, mapping = options.pop("strict"), parse_mapping(options.pop("map"))
    energy = EnergyModel(options.pop("mac_pj"), options.pop("ac_pj"))
    with Progress("val") as bar:
        content = model.val(mapping=mapping, energy=energy, progress=bar.pictures, **options)
    if content is None:
        return 0
    folder = Path(content["settings"]["folder"])
    write_csv(folder / "results.csv", content)
    for problem in content["problems"]:
        print(problem, file=sys.stderr)
    for key, words in (
        ("classes_not_in_model", "the model does not know"),
        ("classes_not_in_data", "not in the data set"),
    ):
        if content[key]:
            named = ", ".join(content[key][:8]) + (", ..." if len(content[key]) > 8 else "")
            print(f"{len(content[key])} classes {words}: {named}", file=sys.stderr)
    print(table(content))
    print(f"Written to {folder}")
    if content["damaged"] and strict:
        print(
            f"casc-det: data: {content['damaged']} files could not be used (strict=false accepts that)", file=sys.stderr
        )
        return 1
    return 0


def parse_mapping(text) -> dict[str, str]:
    """`tvmonitor:tv,sofa:couch` as a dictionary."""
    pairs = [part.split(":") for part in str(text or "").split(",") if part]
    if any(len(pair) != 2 for pair in pairs):
        raise ArgumentError(f"map: expected <data set name>:<model name>,..., got {text!r}")
    return {a.strip(): b.strip() for a, b in pairs}


def run_train(options: dict) -> int:
    from casc_det.yolo.train import train

    folder = train(**{key: value for key, value in options.items() if value is not None})
    print(f"Trained; next: casc-det convert weights={folder / 'weights' / 'best.pt'} out=model.safetensors")
    return 0


def run_convert(options: dict) -> int:
    from casc_det.conversion import AuditError, format_audit
    from casc_det.model import convert

    try:
        conversion = convert(options["weights"], options["imgsz"], options["precision"])
    except AuditError as error:
        print(format_audit(error.audit))
        raise
    print(format_audit(conversion.audit) or f"'{options['weights']}' is a spiking graph; rounded to whole numbers")
    path = conversion.save(options["out"])
    print(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB); try: casc-det predict weights={path} source=...")
    return 0


def run_info(options: dict) -> int:
    import json

    from casc_det.operations import describe
    from casc_det.storage import load_graph
    from casc_det.zoo import find

    facts = describe(load_graph(find(options["weights"])), options["imgsz"])
    if options["json"]:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        print(f"{key:<18} {value}")
    return 0


def run_models(options: dict) -> int:
    import hashlib
    import json

    from casc_det.zoo import DEFAULT, folders, shipped

    found = shipped()
    if options["json"]:
        sums = [hashlib.sha256(entry.path.read_bytes()).hexdigest() for entry in found]
        facts = [{**entry._asdict(), "path": str(entry.path)} for entry in found]
        print(json.dumps([{**fact, "sha256": digest} for fact, digest in zip(facts, sums, strict=True)], indent=1))
        return 0
    width = max([len(entry.name) for entry in found], default=0)
    for entry in found:
        kind = "8-bit integers" if entry.integer else "real-valued"
        text = f"{entry.classes:3d} classes  Q = {entry.levels:<2d}  {entry.imgsz} px  {kind:<14}"
        mark = "  (default)" if entry.name == DEFAULT else ""
        print(f"{entry.name:<{width}}  {text}  {entry.size / 1e6:4.1f} MB{mark}")
    print(f"In {', '.join(map(str, folders())) or 'no folder'}; use one by its name: casc-det info weights={DEFAULT}")
    return 0


REQUIRED = object()
VERBS = {
    "demo": Verb(
        run_demo,
        "show the ANN's and the spiking network's boxes over time on a street picture",
        "casc-det demo",
        {
            "source": Option(None, "one picture; default: bus.jpg of the Ultralytics package"),
            **DETECTING,
            "precision": PRECISION,
            "engine": ENGINE,
            **SAVING,
        },
    ),
    "predict": Verb(
        run_predict,
        "detect objects in pictures and videos with a spiking network",
        "casc-det predict source=bus.jpg timesteps=32",
        {
            "source": Option(REQUIRED, "picture, folder, glob, .txt list, video, webcam index or URL"),
            **DETECTING,
            "max_det": Option(300, "most boxes a picture"),
            "classes": Option(None, "classes to keep, for example person,bus or [0,2]"),
            "batch": Option(1, "pictures simulated together"),
            "rect": Option(True, "pad to multiples of the stride; false: to a square"),
            "vid_stride": Option(1, "use every so many frames of a video"),
            "precision": PRECISION,
            "engine": ENGINE,
            "save": Option(True, "write annotated pictures and videos"),
            "save_txt": Option(False, "write boxes as YOLO label files"),
            "save_conf": Option(False, "with scores in these label files"),
            "save_crop": Option(False, "write the inside of each box as a picture"),
            "json": Option(False, "print predictions.json, which is written in any case, instead of a summary"),
            **SAVING,
        },
    ),
    "val": Verb(
        run_val,
        "score the spiking network against its ANN on COCO, VOC or your own data",
        "casc-det val data=annotations/instances_val2017.json timesteps=16,32,auto against=float.pt",
        {
            "data": Option(REQUIRED, "COCO instances_*.json, VOC folder, or dataset YAML"),
            "weights": DETECTING["weights"],
            "timesteps": Option(
                "auto", "rows of the spiking network, for example 8,16,32,auto; one simulation for all"
            ),
            "against": Option(None, "float network for the row float: .pt, or .safetensors of the same architecture"),
            "images": Option(None, "folder of the pictures of a COCO file; default: images/<split> beside annotations"),
            "split": Option("val", "list of a VOC folder, or key of a YAML"),
            "protocol": Option(None, "coco, voc07 or voc12; default: voc12 for a VOC folder, else coco"),
            "map": Option(None, "class names that differ, as <data set name>:<model name>,..."),
            "imgsz": DETECTING["imgsz"],
            "rect": Option(False, "pad to multiples of the stride instead of a square"),
            "batch": Option(1, "pictures simulated together"),
            "limit": Option(None, "score only the first so many pictures"),
            "precision": PRECISION,
            "engine": ENGINE,
            "device": DETECTING["device"],
            "bootstrap": Option(1000, "draws for the interval of the gap to the ANN; 0 for none"),
            "mac_pj": Option(4.6, "energy of a multiply-accumulate, pJ (45 nm)"),
            "ac_pj": Option(0.9, "energy of an accumulate, pJ (45 nm)"),
            "strict": Option(True, "exit with 1 when files could not be used"),
            "resume": Option(None, "run folder to go on with; the other arguments as before"),
            **SAVING,
        },
    ),
    "train": Verb(
        run_train,
        "train a YOLO detector with CQReLU activations",
        "casc-det train model=yolov8n.yaml data=data/tiny.yaml levels=8 epochs=10 imgsz=128",
        {
            "model": Option(None, "architecture (.yaml) or checkpoint (.pt)"),
            "data": Option(None, "dataset YAML; with teacher= also folders of pictures or .txt lists, comma-separated"),
            "levels": Option(None, "Q of CQReLU, 1..64 (default 8)"),
            "weights": Option(None, "weights to start from: .pt, .safetensors state dict, or a spiking graph"),
            "teacher": Option(None, "float network to distil from (no labels needed): .pt or .safetensors"),
            "names": Option(None, "dataset YAML with class names, where data has none"),
            "progressive": Option(
                None, "share of training in which CQReLU is blended in (default 0.5 from float weights)"
            ),
            "clip_lr": Option(None, "learning rate of the clips lam (default 2.5 * lr0)"),
        },
        more_help="and every argument of Ultralytics' train: epochs, imgsz, batch, lr0, optimizer, resume, name, ...",
    ),
    "convert": Verb(
        run_convert,
        "convert a trained CQReLU detector into a spiking graph, without loss",
        "casc-det convert weights=runs/detect/train/weights/best.pt out=model.safetensors",
        {
            "weights": Option(
                REQUIRED,
                "checkpoint (.pt) of casc-det train (a pickle: only files you trust), or a real-valued spiking graph",
            ),
            "out": Option(REQUIRED, "file to write (.safetensors)"),
            "precision": Option(
                "integer", "integer: 8-bit weights, exact on every machine; float: the network's own weights"
            ),
            "imgsz": Option(None, "longest picture side the graph is meant for; default: that of training"),
        },
    ),
    "info": Verb(
        run_info,
        "what a spiking graph file holds",
        "casc-det info weights=model.safetensors",
        {
            "weights": Option(None, "spiking graph: a .safetensors file, or a name of casc-det models [yolov8n-cq16]"),
            "imgsz": Option(None, "picture side for the number of neurons and operations"),
            "json": Option(False, "print JSON"),
        },
    ),
    "models": Verb(
        run_models,
        "list the weights that have a name",
        "casc-det models",
        {"json": Option(False, "print JSON, with paths and SHA-256")},
    ),
}
