"""The only part of casc_det that imports Ultralytics: building, training, capturing, sources and Results.

Importing this package prepares Ultralytics first: no analytics, no installing or downloading behind the user's back,
the thread count left as it is, and a working `torchvision.ops.nms` where torchvision itself does not import.
"""

import os
import sys
import types

import numpy as np
import torch
from PIL import Image

from casc_det.nms import nms

open_picture = Image.open  # Pillow's own: Ultralytics replaces it by one that wants to install packages


def _torchvision_or_stand_in() -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, AttributeError):  # RuntimeError: operator torchvision::nms does not exist
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]

        def stand_in_nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
            keep = nms(boxes.cpu().numpy(), scores.cpu().numpy(), np.zeros(len(boxes), dtype=np.int64), iou_threshold)
            return torch.from_numpy(keep).to(boxes.device)

        module, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        module.__version__, module.ops, ops.nms = "0.0.0+casc_det", ops, stand_in_nms
        module.__path__ = []
        sys.modules.update({"torchvision": module, "torchvision.ops": ops})


def _prepare() -> None:
    os.environ.setdefault("YOLO_OFFLINE", "True")
    os.environ.setdefault("YOLO_AUTOINSTALL", "0")
    config = os.path.join(os.environ.get("XDG_CONFIG_HOME", os.path.expanduser("~/.config")), "casc_det")
    os.environ.setdefault("YOLO_CONFIG_DIR", config)
    os.makedirs(os.environ["YOLO_CONFIG_DIR"], exist_ok=True)
    _torchvision_or_stand_in()
    threads = torch.get_num_threads()
    import ultralytics  # noqa: F401
    from ultralytics.utils import SETTINGS

    torch.set_num_threads(threads)
    if SETTINGS.get("sync"):
        SETTINGS["sync"] = False


_prepare()
