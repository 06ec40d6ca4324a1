"""Architectures: YAML files of the installed Ultralytics by their names, own YAML files, and those in checkpoints.

Ultralytics evaluates the entry `activation:` as Python, calls whatever its own module knows under the name of a layer,
and fetches weights for some. So only a description that names plain layers is built, unless it is trusted.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import ROOT, YAML
from ultralytics.utils.checks import check_yolov5u_filename

from casc_det.errors import WeightsError

FETCHING = ("TorchVision",)  # layers whose constructors download
TRUST = "say trust=true if you trust its source"


@cache
def shipped_files() -> dict[str, Path]:
    """The architectures in the installed Ultralytics, by file name."""
    return {path.name: path for path in sorted((ROOT / "cfg" / "models").rglob("*.yaml"))}


def _without_scale(name: str) -> str:
    """As Ultralytics has it: yolov8n.yaml is yolov8.yaml in the size n, yolov5n6 is yolov5n-p6."""
    return re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", name)


def shipped_architecture(name: object) -> dict | None:
    """The description that the installed Ultralytics ships under a name such as "yolov8n.yaml"; None: there is none.

    Files of the working folder are not looked at.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+\.ya?ml", name):
        return None
    plain = check_yolov5u_filename(re.sub(r"^(yolov[58])([nsmlx])6(?=[.-])", r"\1\2-p6", name))
    file = shipped_files().get(plain) or shipped_files().get(_without_scale(plain))
    return None if file is None else _read(file, plain)


def read_architecture(name: str | Path, trust: bool = False, argument: str = "model") -> dict:
    """The description under the path of an own YAML file, or else under a name that Ultralytics ships.

    Raises:
        WeightsError: there is none, it is damaged, or it has entries that run code and `trust` is false.
    """
    name, plain = str(name), _without_scale(str(name))
    yaml = name.endswith((".yaml", ".yml"))
    if yaml and Path(name).is_file():
        own = name
    elif yaml and name not in shipped_files() and Path(plain).is_file():
        own = plain
    elif (found := shipped_architecture(name)) is not None:
        return found
    else:
        raise WeightsError(f"{argument}: '{name}' is no known architecture, such as yolov8n.yaml, and no .pt file")
    try:
        description = _read(Path(own), name)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{argument}: '{name}' is no known architecture, such as yolov8n.yaml ({str(error).splitlines()[0]})"
        ) from error
    if description.get("activation") and not trust:
        raise WeightsError(f"{argument}: '{name}' has an entry activation:, which Ultralytics runs as Python; {TRUST}")
    check_description(description, trust, f"{argument}: '{name}'")
    return description


def _read(file: Path, name: str) -> dict:
    return YAML.load(file) | {"scale": tasks.guess_model_scale(name), "yaml_file": name}


def check_description(description: dict, trust: bool, where: str) -> None:
    """Raise WeightsError, beginning with `where`, unless a description has only plain layers, or is trusted."""
    if trust:
        return
    try:
        activation = description.get("activation")
        if activation and not is_plain_activation(activation):
            raise WeightsError(f"{where} has the activation {str(activation)[:80]!r}, which runs as Python; {TRUST}")
        for _, _, layer, arguments in (*description["backbone"], *description["head"]):
            if not is_plain_layer(layer):
                raise WeightsError(f"{where} has the layer {str(layer)[:80]!r}, which is none of Ultralytics'; {TRUST}")
            list(arguments)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{where} is no architecture ({type(error).__name__}: {error})") from error


def is_plain_activation(text: object) -> bool:
    """Whether text is like `nn.LeakyReLU(0.1)`: a class of torch.nn and literal arguments."""
    match = re.fullmatch(r"(?:torch\.)?nn\.([A-Za-z0-9]+)\((.*)\)", str(text).strip())
    if not match or not _is_module(getattr(nn, match[1], None)):
        return False
    try:
        call = ast.parse(f"f({match[2]})", mode="eval").body
        if not isinstance(call, ast.Call):
            return False
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (ValueError, SyntaxError, AttributeError, RecursionError, MemoryError):
        return False
    return isinstance(call.func, ast.Name)


def is_plain_layer(name: object) -> bool:
    """Whether a name is that of a layer class: of torch.nn, torchvision.ops or Ultralytics, and none that downloads."""
    text = str(name)
    if text.startswith("nn."):
        return _is_module(getattr(nn, text[3:], None))
    if text.startswith("torchvision.ops."):
        return _is_module(getattr(torchvision.ops, text[16:], None))
    found = getattr(tasks, text, None)
    return _is_module(found) and found.__module__.startswith("ultralytics.nn.modules") and text not in FETCHING


def _is_module(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, nn.Module)
