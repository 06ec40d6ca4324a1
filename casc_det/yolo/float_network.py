"""The float network that a spiking one is compared with, read out in the form of a spiking network's readout."""

from pathlib import Path

import torch

from casc_det.errors import WeightsError
from casc_det.yolo.architecture import shipped_architecture
from casc_det.yolo.checkpoint import float_model


class FloatNetwork:
    """A float detector.

    Args:
        path: an Ultralytics `.pt` checkpoint, or a `.safetensors` state dict.
        architecture: name of the state dict's YAML file in Ultralytics, for example "yolov8n.yaml"; it may come from
            a file's metadata, so nothing else is taken.
        names: class names of the state dict, which has none of its own.
        trust: see `read_checkpoint`.
    """

    def __init__(
        self, path: str | Path, architecture, names: list[str], device="cpu", dtype=torch.float32, trust: bool = False
    ):
        description = shipped_architecture(architecture) if Path(path).suffix == ".safetensors" else {}
        if description is None:
            raise WeightsError(
                f"against: '{path}' is a state dict of {str(architecture)[:80]!r}, which is no architecture of "
                "Ultralytics; give a .pt file"
            )
        self.model = float_model(path, description, len(names), "against", trust).to(device, dtype)
        own = [str(self.model.names[i]) for i in range(len(self.model.names))]
        self.names = list(names) if Path(path).suffix == ".safetensors" else own
        head = self.model.model[-1]
        self.strides, self.reg_max = [int(s) for s in head.stride], head.reg_max

    @torch.no_grad()
    def readout(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Output maps `boxes{i}`, `scores{i}` of images (B, 3, H, W)."""
        raw, start, maps = self.model(images)[1], 0, {}
        raw = raw.get("one2one", raw) if self.model.model[-1].end2end else raw.get("one2many", raw)
        for level, stride in enumerate(self.strides):
            size = (images.shape[2] // stride, images.shape[3] // stride)
            stop = start + size[0] * size[1]
            for key in ("boxes", "scores"):
                maps[f"{key}{level}"] = raw[key][:, :, start:stop].unflatten(2, size)
            start = stop
        return maps
