"""What a `.pt` file may name without trust: classes that detection models are made of, sealed, and a few functions.

*Sealed*: an empty object of a class can be made and filled with its state, but its constructor cannot be called, as
constructors of Ultralytics' read files, download, and evaluate text.
"""

import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
from torch import nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import IterableSimpleNamespace

OWN = (
    *("casc_det.neurons.activation.CQ", "casc_det.neurons.activation.CQReLU"),
    "casc_det.yolo.network.CQReLUModel",
)
MOVED = {"casc_det.activation": "casc_det.neurons.activation", "casc_det.yolo.train": "casc_det.yolo.network"}
LAYERS = ("torch.nn.modules", "ultralytics.nn.modules", "ultralytics.nn.tasks")  # their nn.Module classes
LOSSES = ("ultralytics.utils.loss", "ultralytics.utils.tal")  # some checkpoints hold the criterion
ALIASES = {  # names of earlier releases
    "ultralytics.nn.modules.block.Silence": nn.Identity,
    "ultralytics.nn.tasks.YOLOv10DetectionModel": DetectionModel,
    "ultralytics.utils.IterableSimpleNamespace": IterableSimpleNamespace,
    "ultralytics.yolo.utils.IterableSimpleNamespace": IterableSimpleNamespace,
}
KNOWN = re.compile(  # what torch's unpickler allows by itself, and what of the rest is harmless
    r"torch\.\w+$|torch\._utils\._rebuild\w+|torch\._tensor\._rebuild_from_type_v2|torch\.storage\.\w+|"
    r"torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout|collections\.(OrderedDict|Counter)|"
    r"_codecs\.encode|builtins\.(set|bytearray|complex)|copyreg\._reconstructor|__builtin__\.set"
)


class Blocked(Exception):
    """A pickle asks for something that only a full unpickle does."""


class Dtype:
    """Stands in for numpy.dtype, whose own unpickling is C code that was not written for strangers' files."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        self.code = state[1].replace("|", "") + self.code


def _number(dtype: Dtype, data: bytes) -> int | float | bool:
    """A numpy scalar, such as the best fitness of a training, as a Python number."""
    kind = np.dtype(dtype.code)
    if kind.kind not in "biuf":
        raise Blocked(f"numpy scalar of type {kind}")
    return np.frombuffer(data, kind)[0].item()


def _path(*parts: str) -> Path:
    return Path(*parts)


def _method(owner: object = None, name: object = None, *_: object) -> MethodType:
    """The one bound method that checkpoints hold: that of layers whose BatchNorm is folded."""
    if not isinstance(owner, nn.Module) or name != "forward_fuse":
        raise Blocked("getattr")
    return MethodType(getattr(type(owner), name), owner)


FUNCTIONS: dict[str, Callable] = {"builtins.getattr": _method, "__builtin__.getattr": _method}
FUNCTIONS |= {"numpy.dtype": Dtype, "numpy.core.multiarray.scalar": _number, "numpy._core.multiarray.scalar": _number}
FUNCTIONS |= {f"{m}.{c}": _path for m in ("pathlib", "pathlib._local") for c in ("PosixPath", "WindowsPath")}


@cache
def sealed(kind: type) -> type:
    """A class that stands for `kind` in a pickle: it makes empty objects of `kind`, and takes no arguments."""

    make: Any = kind.__new__

    def new(cls: type, *args: object, **settings: object) -> object:
        if args or settings:
            raise Blocked(f"call of {kind.__module__}.{kind.__qualname__}")
        return make(kind)

    return type(f"Sealed{kind.__name__}", (), {"__new__": new})


def allowed(name: str) -> type | None:
    """The class that a full name stands for, or None where it is not part of a detection model."""
    if name in ALIASES:
        return ALIASES[name]
    module, _, attribute = name.rpartition(".")
    module = MOVED.get(module, module)
    own, loss = f"{module}.{attribute}" in OWN, module in LOSSES
    if not (own or loss or any(module == m or module.rpartition(".")[0] == m for m in LAYERS)):
        return None
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None
    if not isinstance(found, type) or (loss and found.__module__ != module):
        return None
    return found if loss or issubclass(found, nn.Module) else None


def known(name: str) -> bool:
    """Whether a name may stand in the pickle of a detection model."""
    return bool(KNOWN.match(name)) or name in FUNCTIONS or allowed(name) is not None
