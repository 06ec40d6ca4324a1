"""Read `.pt` files without running what is in them.

A `.pt` file is a pickle, and a pickle may name any function and have it called. Here torch's weights-only unpickler
reads it, which knows tensors and containers and refuses every other name but those of `casc_det.yolo.allow`.
"""

import importlib
import re
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals
from ultralytics.nn.tasks import torch_safe_load

from casc_det.base.arguments import check_flags
from casc_det.errors import WeightsError
from casc_det.yolo.allow import FUNCTIONS, MOVED, Blocked, Dtype, allowed, known, sealed
from casc_det.yolo.pickles import named

LOCK = threading.RLock()  # torch's allow list is one for the process


@contextmanager
def _only(names: list[str]) -> Iterator[None]:
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
        add_safe_globals([*entries, (Dtype, "\nDtype")])
        try:
            yield
        finally:
            clear_safe_globals()
            add_safe_globals(before)


@contextmanager
def _former_modules() -> Iterator[None]:
    """Our own classes can be found under the modules that they were in when older checkpoints were written."""
    added = {name: importlib.import_module(place) for name, place in MOVED.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)


def load(path: str | Path, trust: bool = False, argument: str = "weights") -> Any:
    """The content of a `.pt` file, on the CPU.

    Args:
        trust: unpickle it fully, which runs any code that is in it.
        argument: the name that messages begin with.

    Raises:
        ArgumentError: `trust` is neither True nor False.
        WeightsError: the file is missing or damaged; or it holds something that is not part of a detection model, and
            `trust` is false: nothing of it was run.
    """
    check_flags(trust=trust)
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
    except Blocked as error:
        raise refusal(path, argument, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        if not trust and (what := _blocked(error, path)):
            raise refusal(path, argument, what) from None
        reason = _reason(error, path, trust)
        raise WeightsError(f"{argument}: '{path}' is no Ultralytics checkpoint ({reason})") from error


def _blocked(error: Exception, path: str | Path) -> str | None:
    """What a file asks for that only a full unpickle does, after torch's unpickler gave up; None: it is damaged."""
    text = str(error)
    foreign = re.findall(r"GLOBAL (\S+)", text) or [name for name in _names(path) if not known(name)]
    if foreign and "TorchScript" not in text:
        return foreign[0]
    if "persistent_load" in text:
        return "the source code of its layers, as torch 1.5 and earlier saved it"
    if "Unsupported operand" in text and zipfile.is_zipfile(path):
        return "a pickle of another kind than torch.save writes"
    return None


def _names(path: str | Path) -> list[str]:
    try:
        return named(Path(path))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return []


def _reason(error: Exception, path: str | Path, trust: bool) -> str:
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


def check_holds_model(content: object) -> None:
    """Raise TypeError, in plain words, where the content of a `.pt` file has no network in Ultralytics' places."""
    if not isinstance(content, dict):
        raise TypeError(f"it holds {type(content).__name__}, expected a dictionary with a network as its 'model'")
    if not isinstance(content.get("model"), nn.Module) and not isinstance(content.get("ema"), nn.Module):
        raise TypeError("its dictionary holds no network as 'model' or 'ema', only tensors or other values")


def refusal(path: str | Path, argument: str, what: str) -> WeightsError:
    """The error for a file that asks for `what`."""
    return WeightsError(
        f"{argument}: '{path}' asks for {what[:200]}, which is not part of a detection model; reading it could run any "
        "code. Nothing of it was run. If you trust its source, say trust=true"
    )


def _check_content(content: object) -> None:
    """Raise where state that was filled in could still be run: torch.fx writes the names of modules into code."""
    if not isinstance(content, dict):
        return
    if content.get("modelopt"):
        raise Blocked("modelopt, a quantised model's own loader")
    for value in content.values():
        for module in value.modules() if isinstance(value, nn.Module) else ():
            for key in (*module._modules, *module._parameters, *module._buffers):
                if not (isinstance(key, str) and re.fullmatch(r"[A-Za-z0-9_]+", key)):
                    raise Blocked(f"a layer with the name {key!r}")
