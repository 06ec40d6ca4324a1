"""What a verb of the command line is, and the options that several verbs share.

The tables of options are the one source of names, types, defaults and help: parsing, `--help` and the page
`casc_det/cli/README.md` read them. No torch is imported for that; defaults that belong to an object that needs none are
read from it, and `tests/cli/test_options.py` holds the others to the functions that they are handed to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from casc_det.base.folders import PROJECT
from casc_det.base.kinds import FLAG, INTEGER, NUMBER, PATH, SIZE, STEPS, TEXT, Kind, choice
from casc_det.evaluation.energy import EnergyModel
from casc_det.heads.detect.settings import DetectionSettings

REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """An argument of a verb.

    Attributes:
        kind: the type of its values. help: what it is, with unit and range.
        default: None means not given; `REQUIRED`: it must be.
    """

    kind: Kind
    default: Any
    help: str


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        run: does it with the values of all options, and gives the exit code.
        more: further arguments that are handed on, looked up when one is given; `more_help` says so.
    """

    run: Callable[[dict[str, Any]], int]
    summary: str
    example: str
    options: dict[str, Option]
    more: Callable[[], dict[str, Option]] = dict
    more_help: str = ""


WEIGHTS = Option(PATH, None, "spiking graph: a .safetensors file, or a name of casc-det models [yolov8n-cq16]")
DEVICE = Option(TEXT, "cpu", "cpu, cuda, cuda:0, 0, ...")
THREADS = Option(STEPS, "auto", "of the processor; auto: the cores that other processes leave free")
MODEL = {  # the arguments of SpikingYOLO
    "weights": WEIGHTS,
    "device": DEVICE,
    "precision": Option(
        choice("float32", "float64"), None, "default: float32 for integer graphs, float64 (exact) for real-valued ones"
    ),
    "engine": Option(choice("fast", "reference"), "fast", "reference: step by step; the same spikes"),
    "burst": Option(
        INTEGER,
        None,
        "most unit spikes of a neuron in a step, 1 to Q: fewer time steps; default: what the file recommends",
    ),
    "ramp": Option(FLAG, None, "during wake counts grow in proportion to time; default: what the file recommends"),
    "hysteresis": Option(
        NUMBER,
        None,
        "take back only below so many thresholds during wake: fewer spikes, the same answer at rest; default: what the "
        "file recommends, else 0",
    ),
    "delay": Option(
        NUMBER,
        None,
        "steps that each layer starts later than the one before: fewer spikes, the same answer at rest; default: what "
        "the file recommends, else 0",
    ),
    "threads": THREADS,
}
IMGSZ = Option(SIZE, None, "longest side in pixels; default: that of the weights")
DETECTING = {
    "timesteps": Option(STEPS, "auto", "number of time steps; auto: until quiescent, when the answer is the ANN's"),
    "conf": Option(NUMBER, DetectionSettings.conf, "smallest score of a box, 0..1"),
    "iou": Option(NUMBER, DetectionSettings.iou, "NMS: boxes of one class overlapping by more than this are one, 0..1"),
    "imgsz": IMGSZ,
}
DATA = {
    "data": Option(PATH, REQUIRED, "COCO instances_*.json, VOC folder, or dataset YAML"),
    "images": Option(PATH, None, "folder of the images of a COCO file; default: images/<split> beside annotations"),
    "split": Option(TEXT, "val", "list of a VOC folder, or key of a YAML"),
    "limit": Option(INTEGER, None, "only the first so many images that can be found"),
    "strict": Option(FLAG, True, "exit with 1 when files could not be used"),
}
ENERGY = {
    "mac_pj": Option(NUMBER, EnergyModel.mac_pj, "energy of a multiply-accumulate, pJ (45 nm)"),
    "ac_pj": Option(NUMBER, EnergyModel.ac_pj, "energy of an accumulate, pJ (45 nm)"),
}
TRUST = Option(
    FLAG, False, "unpickle .pt files fully, which runs any code in them; without it, only known layers are read"
)
SAVING = {
    "project": Option(PATH, PROJECT, "folder of the run folders"),
    "name": Option(TEXT, None, "name of the run folder; default: the verb, numbered"),
    "exist_ok": Option(FLAG, False, "write into the run folder even if it exists"),
}


def taken(options: dict[str, Any], names: dict[str, Option]) -> dict[str, Any]:
    """Some of the options, which are removed from the others."""
    return {name: options.pop(name) for name in names}
