"""Types of the arguments of Ultralytics' train, as its own tables and defaults have them."""

from ultralytics.cfg import CFG_BOOL_KEYS, CFG_FLOAT_KEYS, CFG_FRACTION_KEYS, CFG_INT_KEYS
from ultralytics.utils import DEFAULT_CFG_DICT

from casc_det.base.kinds import (
    FLAG,
    INTEGER,
    INTEGER_OR_LIST,
    INTEGERS,
    NUMBER,
    NUMBER_OR_LIST,
    SIZE,
    TEXT,
    Kind,
    flag_or,
)

SPECIAL = {  # what no table has, or what takes more than the table says
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
    """The `Kind` of each argument of Ultralytics' train."""
    kinds = dict.fromkeys(DEFAULT_CFG_DICT, TEXT)
    kinds |= dict.fromkeys(CFG_FLOAT_KEYS | CFG_FRACTION_KEYS, NUMBER)
    kinds |= dict.fromkeys(CFG_INT_KEYS, INTEGER) | dict.fromkeys(CFG_BOOL_KEYS, FLAG)
    return {key: (kinds | SPECIAL)[key] for key in DEFAULT_CFG_DICT}
