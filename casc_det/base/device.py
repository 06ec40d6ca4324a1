"""The device to compute on, as users of Ultralytics type it."""

import os

import torch

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError


def device_name(device: object) -> str:
    """The name for torch of what Ultralytics users type: "cpu", "cuda:0", 0, ...

    "cuda" is the GPU of this process among those that torchrun started, so that each has its own.
    """
    text = str(device).strip().lower()
    if text == "cuda":
        text = os.environ.get("LOCAL_RANK", text)
    return f"cuda:{text}" if text.isdigit() else text


def check_device(device: object) -> torch.device:
    """A torch device from what Ultralytics users type ("cpu", "cuda:0", 0), or ArgumentError."""
    text = device_name(device)
    if text.partition(":")[0] not in ("cpu", "cuda"):  # others have no float64, or no values
        raise ArgumentError(f"device: expected cpu, cuda or the number of a GPU, got {shown(device)}")
    try:
        chosen = torch.device(text)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(f"device: '{device}' cannot be used here ({reason}); use device=cpu") from error
    return chosen
