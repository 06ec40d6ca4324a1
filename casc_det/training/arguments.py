"""The arguments of training, listed once: the command line, the checks and the trainer read them from here.

Whatever is not listed is Ultralytics' (augmentation, run folder, resume, patience, seed, device, ...). Ultralytics is
imported only where its own arguments are asked for, so that `casc-det train --help` does not wait for it.
"""

import math
from dataclasses import dataclass

from casc_det.base.kinds import (
    FLAG,
    INTEGER,
    INTEGER_OR_LIST,
    INTEGERS,
    NUMBER,
    NUMBER_OR_LIST,
    PATH,
    SIZE,
    TEXT,
    Kind,
    flag_or,
)


@dataclass(frozen=True)
class Argument:
    """An argument of `train`.

    Attributes:
        kind: the type of its values. help: what it is, with unit and range.
        default: None means not given.
        largest: of a number that is at least 0; None: it is checked by what uses it.
    """

    kind: Kind
    help: str
    default: object = None
    largest: float | None = None


SHARED = {  # of Ultralytics, explained as casc_det has them
    "model": Argument(PATH, "architecture (.yaml) or checkpoint (.pt)"),
    "data": Argument(TEXT, "dataset YAML; with teacher= also folders of images or .txt lists, comma-separated"),
}
OWN = {
    "levels": Argument(INTEGER, "Q, the largest count of a neuron, 1..64 (default 8)"),
    "activation": Argument(
        TEXT,
        "what is quantised: keep, the network's own functions; the name of the one that it has, such as silu; or relu, "
        "CQReLU in place of them, as in the paper (default what a spiking network to start from has, else relu)",
    ),
    "weights": Argument(PATH, "weights to start from: .pt, .safetensors state dict, or a spiking graph"),
    "teacher": Argument(PATH, "float network to distil from (no labels needed): .pt or .safetensors"),
    "names": Argument(PATH, "dataset YAML with class names, where data has none"),
    "progressive": Argument(
        NUMBER,
        "share of training in which the quantised activation is blended in (default 0; CQReLU from float weights: 0.5)",
        largest=1,
    ),
    "clip_lr": Argument(
        NUMBER,
        "learning rate of the steps delta (of CQReLU: clips lam; default 2.5 * lr0; 0: they stay as they are)",
        largest=math.inf,
    ),
    "norm_lr": Argument(
        NUMBER, "learning rate of biases and of BatchNorm's scale and shift (default lr0)", largest=math.inf
    ),
    "features": Argument(NUMBER, "weight of the feature maps in distillation (default 2)", largest=math.inf),
    "sparsity": Argument(NUMBER, "weight of the mean size of the counts in the loss (default 0)", largest=math.inf),
    "fake_int8": Argument(
        NUMBER, "share of training, at its end, with weights rounded to 8 bits (default 0)", largest=1
    ),
    "trust": Argument(
        FLAG,
        "unpickle .pt files fully, which runs any code in them; without it, only known layers are read; and what a "
        "YAML file of your own runs",
        default=False,
    ),
}
SPECIAL = {  # what no table of Ultralytics has, or what takes more than the table says
    "imgsz": SIZE,
    "fraction": NUMBER_OR_LIST,
    "scale": NUMBER_OR_LIST,
    "freeze": INTEGER_OR_LIST,
    "classes": INTEGERS,
    "cache": flag_or("one of ram, disk", "ram", "disk"),
    "amp": flag_or("one of fp16, bf16, fp32", "fp16", "bf16", "fp32"),
    "compile": flag_or("a mode"),
    "pretrained": flag_or("a path"),
    "resume": flag_or("a path"),
}


def train_kinds() -> dict[str, Kind]:
    """The `Kind` of each argument of Ultralytics' train, as its own tables and defaults have them."""
    import casc_det.yolo  # noqa: F401  prepares Ultralytics

    # isort: split
    from ultralytics.cfg import CFG_BOOL_KEYS, CFG_FLOAT_KEYS, CFG_FRACTION_KEYS, CFG_INT_KEYS
    from ultralytics.utils import DEFAULT_CFG_DICT

    kinds = dict.fromkeys(DEFAULT_CFG_DICT, TEXT)
    kinds |= dict.fromkeys(CFG_FLOAT_KEYS | CFG_FRACTION_KEYS, NUMBER)
    kinds |= dict.fromkeys(CFG_INT_KEYS, INTEGER) | dict.fromkeys(CFG_BOOL_KEYS, FLAG)
    return {key: (kinds | SPECIAL)[key] for key in DEFAULT_CFG_DICT}
