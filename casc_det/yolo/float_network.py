"""The float network that a spiking one is compared with, read out in the form of a spiking network's readout."""

from pathlib import Path

import torch
from ultralytics.nn.tasks import DetectionModel

from casc_det.errors import WeightsError
from casc_det.yolo.architecture import read_architecture, shipped_architecture
from casc_det.yolo.checkpoint import check_answer, read_checkpoint, read_state
from casc_det.yolo.network import head_of, names_of, raw_outputs, strides_of
from casc_det.yolo.weights import is_folded


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
        self,
        path: str | Path,
        architecture: object,
        names: list[str],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        trust: bool = False,
    ) -> None:
        plain = Path(path).suffix == ".safetensors"
        description = shipped_architecture(architecture) if plain else {}
        if description is None:
            raise WeightsError(
                f"against: '{path}' is a state dict of {str(architecture)[:80]!r}, which is no architecture of "
                "Ultralytics; give a .pt file"
            )
        self.model = float_model(path, description, len(names), "against", trust).to(device, dtype)
        self.names = list(names) if plain else names_of(self.model)
        self.head = head_of(self.model)
        self.strides, self.reg_max = strides_of(self.head), self.head.reg_max

    @torch.no_grad()
    def readout(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Output maps `boxes{i}` (B, 4*reg_max, H, W), `scores{i}` (B, classes, H, W) of images (B, 3, H, W)."""
        return maps_of(raw_outputs(self.model(images), one2one=self.head.end2end), images, self.strides)


def maps_of(raw: dict[str, torch.Tensor], images: torch.Tensor, strides: list[int]) -> dict[str, torch.Tensor]:
    """What `raw_outputs` gives for images (B, 3, H, W) as the output maps of `FloatNetwork.readout`."""
    start, maps = 0, {}
    for level, stride in enumerate(strides):
        size = (images.shape[2] // stride, images.shape[3] // stride)
        stop = start + size[0] * size[1]
        for key in ("boxes", "scores"):
            maps[f"{key}{level}"] = raw[key][:, :, start:stop].unflatten(2, size)
        start = stop
    return maps


def float_model(
    path: str | Path, architecture: str | dict, classes: int, argument: str, trust: bool = False
) -> DetectionModel:
    """A float network in eval mode from a `.pt` checkpoint or from a `.safetensors` state dict of `architecture`.

    Args:
        architecture: path or name, see `read_architecture`, or a description that was checked.
        trust: see `read_checkpoint`.

    Raises:
        WeightsError: naming `argument`, where the file is missing, damaged or of another architecture.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"{argument}: '{path}' does not exist (nothing is downloaded); give a .pt or .safetensors file"
        )
    if Path(path).suffix != ".safetensors":
        model = read_checkpoint(path, trust, argument).eval()
        check_answer(model, path, argument)
        return model
    if not isinstance(architecture, dict):
        architecture = read_architecture(architecture, trust)
    model, state = DetectionModel(architecture, nc=classes, verbose=False), read_state(path)
    if is_folded(state):
        model.fuse(verbose=False)
    try:
        missing = [key for key in model.load_state_dict(state, strict=False).missing_keys if "dfl" not in key]
    except RuntimeError:  # tensors of other shapes
        missing = ["its tensors' shapes"]
    if missing:
        raise WeightsError(f"{argument}: '{path}' does not fit the architecture ({missing[0]}); give a .pt file")
    return model.eval()
