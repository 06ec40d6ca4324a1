"""The verbs of the command line and what each one takes."""

from collections.abc import Callable
from dataclasses import dataclass

from casc_det.base.kinds import (
    FLAG,
    INTEGER,
    INTEGERS,
    NUMBER,
    NUMBERS,
    PATH,
    SIZE,
    STEP_RANGE,
    STEPS,
    STEPS_LIST,
    TEXT,
    Kind,
    choice,
    choices,
)
from casc_det.cli import commands
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.training.arguments import OWN, SHARED


@dataclass(frozen=True)
class Option:
    """kind: the type of its values. default None means: not given. help says the unit and the range."""

    kind: Kind
    default: object
    help: str


@dataclass(frozen=True)
class Verb:
    run: Callable[[dict], int]
    summary: str
    example: str
    options: dict[str, Option]
    more: Callable[[], dict[str, Option]] = dict  # further arguments that are handed on, looked up when one is given
    more_help: str = ""


def train_options() -> dict[str, Option]:
    """The arguments of Ultralytics' train."""
    from casc_det.training.arguments import train_kinds

    return {key: Option(kind, None, "of Ultralytics") for key, kind in train_kinds().items()}


SAVING = {
    "project": Option(PATH, "runs/detect", "folder of the run folders"),
    "name": Option(TEXT, None, "name of the run folder; default: the verb, numbered"),
    "exist_ok": Option(FLAG, False, "write into the run folder even if it exists"),
}
PRECISION = Option(
    choice("float32", "float64"), None, "default: float32 for integer graphs, float64 (exact) for real-valued ones"
)
THREADS = Option(STEPS, "auto", "of the processor; auto: the cores that other processes leave free")
RUNNING = {
    "threads": THREADS,
    "engine": Option(choice("fast", "reference"), "fast", "reference: step by step; the same spikes"),
    "hysteresis": Option(
        NUMBER, 0.0, "take back only below so many thresholds during wake: fewer spikes, the same answer at rest"
    ),
    "delay": Option(
        NUMBER, 0.0, "steps that each layer starts later than the one before: fewer spikes, the same answer at rest"
    ),
}
TRUST = Option(
    FLAG, False, "unpickle .pt files fully, which runs any code in them; without it, only known layers are read"
)
DETECTING = {
    "weights": Option(PATH, None, "spiking graph: a .safetensors file, or a name of casc-det models [yolov8n-cq16]"),
    "timesteps": Option(STEPS, "auto", "number of time steps; auto: until quiescent, when the answer is the ANN's"),
    "conf": Option(NUMBER, DetectionSettings.conf, "smallest score of a box, 0..1"),
    "iou": Option(NUMBER, DetectionSettings.iou, "NMS: boxes of one class overlapping by more than this are one, 0..1"),
    "imgsz": Option(SIZE, None, "longest side in pixels; default: that of the weights"),
    "device": Option(TEXT, "cpu", "cpu, cuda, cuda:0, 0, ..."),
}


DRAWN = "boxes are drawn with name and score; for others, draw what is in predictions.json"
ABSENT = {  # arguments of Ultralytics that its users may type, and what to do instead
    "model": "give weights=",
    "show": "no window is opened; look at what is written into the run folder",
    "half": "give precision=float32 or float64, the precisions in which the answer is exact",
    "int8": "casc-det convert makes 8-bit graphs, which are found out by themselves",
    "line_width": DRAWN,
    "show_labels": DRAWN,
    "show_conf": DRAWN,
    "show_boxes": DRAWN,
    "save_frames": "videos are written as videos, and the boxes of each frame in predictions.json",
    "save_json": "the boxes are written as JSON in any case",
    "plots": "what there is to draw is drawn in any case",
    "visualize": "see casc-det study for what the layers do over time",
    "augment": "each image is looked at once, as it is",
    "agnostic_nms": "boxes of different classes never replace each other",
    "stream_buffer": "no frame of a stream is left out but those that vid_stride= says",
    "workers": "give threads=",
    "verbose": "redirect the output, or give json=true where the verb has it",
    "task": "every verb detects objects",
    "mode": "the verb says it: casc-det predict, val, train",
}
REQUIRED = object()
VERBS = {
    "demo": Verb(
        commands.run_demo,
        "show the ANN's and the spiking network's boxes over time on a street picture",
        "casc-det demo",
        {
            "source": Option(TEXT, None, "one picture; default: bus.jpg of the Ultralytics package"),
            **DETECTING,
            "precision": PRECISION,
            **RUNNING,
            **SAVING,
        },
    ),
    "predict": Verb(
        commands.run_predict,
        "detect objects in pictures and videos with a spiking network",
        "casc-det predict source=bus.jpg timesteps=32",
        {
            "source": Option(TEXT, REQUIRED, "picture, folder, glob, .txt list, video, webcam index or URL"),
            **DETECTING,
            "max_det": Option(INTEGER, DetectionSettings.max_det, "most boxes a picture"),
            "classes": Option(TEXT, None, "classes to keep, for example person,bus or [0,2]"),
            "batch": Option(INTEGER, 1, "pictures simulated together"),
            "rect": Option(FLAG, True, "pad to multiples of the stride; false: to a square"),
            "vid_stride": Option(INTEGER, 1, "use every so many frames of a video"),
            "policy": Option(
                TEXT, "quiescent", "with timesteps=auto, when to stop: quiescent, boxes-stable(k), confident(p)"
            ),
            "precision": PRECISION,
            **RUNNING,
            "save": Option(FLAG, True, "write annotated pictures and videos"),
            "save_txt": Option(FLAG, False, "write boxes as YOLO label files"),
            "save_conf": Option(FLAG, False, "with scores in these label files"),
            "save_crop": Option(FLAG, False, "write the inside of each box as a picture"),
            "json": Option(FLAG, False, "print predictions.json, which is written in any case, instead of a summary"),
            **SAVING,
        },
    ),
    "val": Verb(
        commands.run_val,
        "score the spiking network against its ANN on COCO, VOC or your own data",
        "casc-det val data=annotations/instances_val2017.json timesteps=16,32,auto against=float.pt",
        {
            "data": Option(PATH, REQUIRED, "COCO instances_*.json, VOC folder, or dataset YAML"),
            "weights": DETECTING["weights"],
            "timesteps": Option(
                STEPS_LIST,
                "auto",
                "rows of the spiking network, for example 8,16,32,auto or 5..8; one simulation for all",
            ),
            "against": Option(
                PATH, None, "float network for the row float: .pt, or .safetensors of the same architecture"
            ),
            "images": Option(
                PATH, None, "folder of the pictures of a COCO file; default: images/<split> beside annotations"
            ),
            "split": Option(TEXT, "val", "list of a VOC folder, or key of a YAML"),
            "protocol": Option(choice("coco", "voc07", "voc12"), None, "default: voc12 for a VOC folder, else coco"),
            "map": Option(TEXT, None, "class names that differ, as <data set name>:<model name>,..."),
            "imgsz": DETECTING["imgsz"],
            "rect": Option(FLAG, False, "pad to multiples of the stride instead of a square"),
            "batch": Option(INTEGER, 1, "pictures simulated together"),
            "limit": Option(INTEGER, None, "score only the first so many images that can be found"),
            "precision": PRECISION,
            **RUNNING,
            "device": DETECTING["device"],
            "bootstrap": Option(INTEGER, 1000, "draws for the interval of the gap to the ANN; 0 for none"),
            "mac_pj": Option(NUMBER, 4.6, "energy of a multiply-accumulate, pJ (45 nm)"),
            "ac_pj": Option(NUMBER, 0.9, "energy of an accumulate, pJ (45 nm)"),
            "strict": Option(FLAG, True, "exit with 1 when files could not be used"),
            "resume": Option(PATH, None, "run folder to go on with; the other arguments as before"),
            "trust": TRUST,
            **SAVING,
        },
    ),
    "study": Verb(
        commands.run_study,
        "accuracy, error, spikes and energy against time steps: figures, tables and a page",
        "casc-det study data=annotations/instances_val2017.json timesteps=1..64 neurons=cif,if limit=100",
        {
            "data": Option(PATH, REQUIRED, "COCO instances_*.json, VOC folder, or dataset YAML"),
            "weights": Option(TEXT, None, "spiking graphs, files or names, comma-separated [yolov8n-cq16]"),
            "timesteps": Option(STEP_RANGE, "1..64", "time steps of the curves: 1..64, or 8,16,32"),
            "neurons": Option(choices("cif", "if", "signed_if"), "cif", "neurons, see the README"),
            "schedule": Option(choices("wsc", "constant"), "wsc", "when the picture comes in, see the README"),
            "hysteresis": Option(
                NUMBERS, 0, "also CIF that takes back only below so many thresholds during wake: 0.25,0.5"
            ),
            "delay": Option(NUMBERS, 0, "also layers that start so many steps later than the layer before: 0.25,0.5"),
            "corruptions": Option(
                choices("none", "noise", "blur", "fog", "jpeg", "brightness"), "none", "also disturbed pictures"
            ),
            "severities": Option(INTEGERS, "1,2,3", "strengths of the disturbances"),
            "levels": Option(INTEGERS, 0, "the same weights with another Q, not trained for it: 4,8,16; 0: their own"),
            "policies": Option(
                TEXT, "quiescent,boxes-stable(2),boxes-stable(4),confident(0.5)", "rules of early exit, see the README"
            ),
            "images": Option(
                PATH, None, "folder of the pictures of a COCO file; default: images/<split> beside annotations"
            ),
            "split": Option(TEXT, "val", "list of a VOC folder, or key of a YAML"),
            "imgsz": DETECTING["imgsz"],
            "limit": Option(INTEGER, None, "only the first so many images that can be found"),
            "device": DETECTING["device"],
            "threads": THREADS,
            "mac_pj": Option(NUMBER, 4.6, "energy of a multiply-accumulate, pJ (45 nm)"),
            "ac_pj": Option(NUMBER, 0.9, "energy of an accumulate, pJ (45 nm)"),
            "strict": Option(FLAG, True, "exit with 1 when files could not be used"),
            "resume": Option(PATH, None, "folder of a study to go on with; finished cells are kept"),
            **SAVING,
        },
    ),
    "train": Verb(
        commands.run_train,
        "train a YOLO detector with CQReLU activations",
        "casc-det train model=yolov8n.yaml data=data/tiny.yaml levels=8 epochs=10 imgsz=128",
        {key: Option(argument.kind, argument.default, argument.help) for key, argument in (SHARED | OWN).items()},
        more=train_options,
        more_help="and every argument of Ultralytics' train: epochs, imgsz, batch, lr0, optimizer, resume, name, ...",
    ),
    "convert": Verb(
        commands.run_convert,
        "convert a trained CQReLU detector into a spiking graph, without loss",
        "casc-det convert weights=runs/detect/train/weights/best.pt out=model.safetensors",
        {
            "weights": Option(
                PATH,
                REQUIRED,
                "checkpoint (.pt) of casc-det train, or a real-valued spiking graph",
            ),
            "out": Option(PATH, REQUIRED, "file to write (.safetensors)"),
            "precision": Option(
                choice("integer", "float"),
                "integer",
                "integer: 8-bit weights, exact on every CPU; float: the network's own weights",
            ),
            "imgsz": Option(INTEGER, None, "longest picture side the graph is meant for; default: that of training"),
            "trust": TRUST,
        },
    ),
    "info": Verb(
        commands.run_info,
        "what a spiking graph file holds",
        "casc-det info weights=model.safetensors",
        {
            "weights": Option(
                PATH, None, "spiking graph: a .safetensors file, or a name of casc-det models [yolov8n-cq16]"
            ),
            "imgsz": Option(INTEGER, None, "picture side for the number of neurons and operations"),
            "json": Option(FLAG, False, "print JSON"),
        },
    ),
    "models": Verb(
        commands.run_models,
        "list the weights that have a name",
        "casc-det models",
        {"json": Option(FLAG, False, "print JSON, with paths and SHA-256")},
    ),
}
