"""The only part of casc_det that imports Ultralytics: building, training, capturing, sources and Results.

Importing this package prepares Ultralytics first: no analytics, no installing or downloading behind the user's back
(fonts included), no pickles out of data sets, the thread count left as it is, and a working `torchvision.ops.nms` where
torchvision itself does not import.
"""

import importlib
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from casc_det.base.caches import set_config_folders
from casc_det.heads.detect.boxes import nms

open_image = Image.open  # Pillow's own: Ultralytics replaces it by one that wants to install packages


def _torchvision_or_stand_in() -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, AttributeError):  # RuntimeError: operator torchvision::nms does not exist
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]

        def stand_in_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
            keep = nms(boxes.cpu().numpy(), scores.cpu().numpy(), np.zeros(len(boxes), dtype=np.int64), iou_threshold)
            return torch.from_numpy(keep).to(boxes.device)

        module: Any = types.ModuleType("torchvision")
        ops: Any = types.ModuleType("torchvision.ops")
        module.__version__, module.ops, ops.nms = "0.0.0+casc_det", ops, stand_in_nms
        module.__path__ = []
        sys.modules.update({"torchvision": module, "torchvision.ops": ops})


def _replace(module: str, name: str, function: Callable) -> None:
    """Put a function in the place of Ultralytics' own, also in modules that have imported it already."""
    original = getattr(importlib.import_module(module), name)
    for loaded in [m for key, m in sys.modules.items() if key.startswith("ultralytics") and m is not None]:
        if vars(loaded).get(name) is original:
            setattr(loaded, name, function)


def _font(font: object = "Arial.ttf") -> str:
    from casc_det.show.figures import font_file  # later: matplotlib takes its time

    return font_file(str(font))


def _no_cache(path: object) -> NoReturn:
    raise FileNotFoundError(f"{path} is not read: it is a pickle, which may run code")


def _keep_cache(prefix: str, path: object, content: dict, version: str) -> None:
    content["version"] = version  # as Ultralytics' own does; nothing is written into the user's folders


def _prepare() -> None:
    os.environ["YOLO_OFFLINE"] = "True"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "0"
    set_config_folders()
    _torchvision_or_stand_in()
    threads = torch.get_num_threads()
    import ultralytics  # noqa: F401
    from ultralytics.utils import SETTINGS

    torch.set_num_threads(threads)
    if SETTINGS.get("sync"):
        SETTINGS["sync"] = False
    from ultralytics.utils.events import events

    events.enabled = False  # it was set up before this where Ultralytics was imported first
    _replace("ultralytics.utils.checks", "check_font", _font)
    _replace("ultralytics.data.utils", "load_dataset_cache_file", _no_cache)
    _replace("ultralytics.data.utils", "save_dataset_cache_file", _keep_cache)


_prepare()
