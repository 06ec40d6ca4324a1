"""Read `.pt` files without running what is in them.

A `.pt` file is a pickle, and a pickle may name any function and have it called. Here torch's weights-only unpickler
reads it, which knows tensors and containers and refuses every other name, with an allow list of the classes that
detection models are made of. Those are *sealed*: an empty object of one can be made and filled with its state, but its
constructor cannot be called, as constructors of Ultralytics' read files, download, and evaluate text.
"""

import importlib
import pickletools
import re
import sys
import threading
import warnings
import zipfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from torch import nn
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals
from ultralytics.nn.tasks import DetectionModel, torch_safe_load
from ultralytics.utils import IterableSimpleNamespace

from casc_det.errors import ArgumentError, WeightsError

OWN = ("casc_det.neurons.activation.CQReLU", "casc_det.yolo.network.CQReLUModel")
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
LOCK = threading.RLock()  # torch's allow list is one for the process


class _Blocked(Exception):
    """A pickle asks for something that only a full unpickle does."""


class _Dtype:
    """Stands in for numpy.dtype, whose own unpickling is C code that was not written for strangers' files."""

    def __init__(self, code: str, *_):
        self.code = code

    def __setstate__(self, state):
        self.code = state[1].replace("|", "") + self.code


def _number(dtype: _Dtype, data: bytes):
    """A numpy scalar, such as the best fitness of a training, as a Python number."""
    kind = np.dtype(dtype.code)
    if kind.kind not in "biuf":
        raise _Blocked(f"numpy scalar of type {kind}")
    return np.frombuffer(data, kind)[0].item()


def _path(*parts: str) -> Path:
    return Path(*parts)


def _method(owner=None, name=None, *_):
    """The one bound method that checkpoints hold: that of layers whose BatchNorm is folded."""
    if not isinstance(owner, nn.Module) or name != "forward_fuse":
        raise _Blocked("getattr")
    return MethodType(getattr(type(owner), name), owner)


FUNCTIONS = {"builtins.getattr": _method, "__builtin__.getattr": _method}
FUNCTIONS |= {"numpy.dtype": _Dtype, "numpy.core.multiarray.scalar": _number, "numpy._core.multiarray.scalar": _number}
FUNCTIONS |= {f"{m}.{c}": _path for m in ("pathlib", "pathlib._local") for c in ("PosixPath", "WindowsPath")}


@cache
def sealed(kind: type) -> type:
    """A class that stands for `kind` in a pickle: it makes empty objects of `kind`, and takes no arguments."""

    def new(cls, *args, **settings):
        if args or settings:
            raise _Blocked(f"call of {kind.__module__}.{kind.__qualname__}")
        return kind.__new__(kind)

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


def named(file: Path) -> list[str]:
    """The full names of all classes and functions that a `.pt` file names, in the order of the file; runs nothing."""
    names: dict[str, None] = {}
    with open(file, "rb") as stream:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                for member in archive.namelist():
                    if member.endswith(".pkl"):
                        with archive.open(member) as part:
                            _collect(part, names)
        else:
            stream.seek(0)
            while _collect(stream, names):  # the format before zip files is several pickles after one another
                pass
    return list(names)


def _collect(stream, names: dict[str, None]) -> bool:
    """Add the names of one pickle; False at the end or where there is none."""
    texts, memo = [], {}
    try:
        for op, value, _ in pickletools.genops(stream):
            if op.name in ("GLOBAL", "INST"):
                names[value.replace(" ", ".")] = None
            elif op.name == "STACK_GLOBAL":
                names[".".join(texts[-2:])] = None
            elif isinstance(value, str):
                texts.append(value)
            elif op.name == "MEMOIZE":
                memo[len(memo)] = texts[-1] if texts else ""
            elif "PUT" in op.name:
                memo[value] = texts[-1] if texts else ""
            elif "GET" in op.name:
                texts.append(memo.get(value, ""))
    except Exception:  # no pickle from here on
        return False
    return True


@contextmanager
def _only(names: list[str]):
    """Torch's allow list is that of `names` and nothing else."""
    entries: list = []
    for name in names:
        if name in FUNCTIONS:
            entries.append((FUNCTIONS[name], name.replace("__builtin__", "builtins")))
        elif (kind := allowed(name)) is not None:
            # the second entry lets state into objects of the class itself; no pickle can name it: names have no "\n"
            entries += [(sealed(kind), name), (kind, f"\n{name}")]
    with LOCK:
        before = get_safe_globals()
        clear_safe_globals()
        add_safe_globals([*entries, (_Dtype, "\n_Dtype")])
        try:
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(before)


@contextmanager
def _former_modules():
    """Our own classes can be found under the modules that they were in when older checkpoints were written."""
    added = {name: importlib.import_module(place) for name, place in MOVED.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)


def load(path: str | Path, trust: bool = False, argument: str = "weights"):
    """The content of a `.pt` file, on the CPU.

    Args:
        trust: unpickle it fully, which runs any code that is in it.
        argument: the name that messages begin with.

    Raises:
        ArgumentError: `trust` is neither True nor False.
        WeightsError: the file is missing or damaged; or it holds something that is not part of a detection model, and
            `trust` is false: nothing of it was run.
    """
    if not isinstance(trust, bool):  # a text such as "no" would be true
        raise ArgumentError(f"trust: expected True or False, got {trust!r}")
    if not Path(path).is_file():
        raise WeightsError(f"{argument}: '{path}' does not exist (nothing is downloaded); give a .pt file")
    try:
        if trust:
            with _former_modules():
                return torch_safe_load(str(path), safe_only=False)[0]
        names = named(Path(path))
        with _only(names), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
        _check_content(content)
        return content
    except _Blocked as error:
        raise refusal(path, argument, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        text = str(error).strip() or type(error).__name__
        script = "TorchScript" in text
        foreign = re.findall(r"GLOBAL (\S+)", text) or [name for name in names_or_none(path) if not known(name)]
        if foreign and not trust and not script:
            raise refusal(path, argument, foreign[0]) from None
        if not trust and "persistent_load" in text:
            raise refusal(path, argument, "the source code of its layers, as torch 1.5 and earlier saved it") from None
        if not trust and "Unsupported operand" in text and zipfile.is_zipfile(path):
            raise refusal(path, argument, "a pickle of another kind than torch.save writes") from None
        raise WeightsError(
            f"{argument}: '{path}' is no Ultralytics checkpoint ({_reason(error, path, trust)})"
        ) from error


def _reason(error: Exception, path, trust: bool) -> str:
    """Why a file could not be read, in plain words: those of the unpicklers are about their own insides."""
    text = str(error).strip() or type(error).__name__
    for words, reason in (
        ("TorchScript", "it is a TorchScript archive"),
        (".tar format", "it is in the .tar format of old releases of torch"),
        ("PytorchStreamReader", "it is damaged or cut short"),
        ("Weights only load failed", "it is no file that torch.save wrote"),
        ("EOFError", "it is empty or cut short"),
    ):
        if words in text:
            return reason
    if not trust and not isinstance(error, OSError) and not zipfile.is_zipfile(path):
        return "it is no file that torch.save wrote"
    return f"{type(error).__name__}: {text.removeprefix('ERROR ❌️ ').splitlines()[0][:200]}"


def check_holds_model(content) -> None:
    """Raise TypeError, in plain words, where the content of a `.pt` file has no network in Ultralytics' places."""
    if not isinstance(content, dict):
        raise TypeError(f"it holds {type(content).__name__}, expected a dictionary with a network as its 'model'")
    if not isinstance(content.get("model"), nn.Module) and not isinstance(content.get("ema"), nn.Module):
        raise TypeError("its dictionary holds no network as 'model' or 'ema', only tensors or other values")


def names_or_none(path) -> list[str]:
    try:
        return named(Path(path))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return []


def known(name: str) -> bool:
    return bool(KNOWN.match(name)) or name in FUNCTIONS or allowed(name) is not None


def refusal(path, argument: str, what: str) -> WeightsError:
    return WeightsError(
        f"{argument}: '{path}' asks for {what[:200]}, which is not part of a detection model; reading it could run any "
        "code. Nothing of it was run. If you trust its source, say trust=true"
    )


def _check_content(content) -> None:
    """Raise where state that was filled in could still be run: torch.fx writes the names of modules into code."""
    if not isinstance(content, dict):
        return
    if content.get("modelopt"):
        raise _Blocked("modelopt, a quantised model's own loader")
    for value in content.values():
        for module in value.modules() if isinstance(value, nn.Module) else ():
            for key in (*module._modules, *module._parameters, *module._buffers):
                if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_]+", key)):
                    raise _Blocked(f"a layer with the name {key!r}")
