"""What casc_det uses of Ultralytics' detection networks, with the types that Ultralytics does not declare."""

from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import DetectionModel


class CQReLUModel(DetectionModel):
    """Detection model whose forward pass can run under bf16 autocast on a CPU, which Ultralytics refuses."""

    cpu_bf16 = False

    def forward(self, x: torch.Tensor | dict, *args: Any, **kwargs: Any) -> Any:
        """As Ultralytics: of images what the head gives, of a batch the loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.cpu_bf16 and self.training):
            return super().forward(x, *args, **kwargs)


def layers_of(model: nn.Module) -> nn.Sequential:
    """The layers of an Ultralytics network in order. Each has `f`, the number of the layer it reads, or a list."""
    layers: Any = model.model
    return layers


def head_of(model: nn.Module) -> Detect:
    """The last layer of a detection network."""
    head: Any = layers_of(model)[-1]
    return head


def strides_of(head: Detect) -> list[int]:
    """Pixels per cell of each detection level."""
    return [int(stride) for stride in head.stride]


def names_of(model: nn.Module) -> list[str]:
    """The class names, index = label."""
    names: Any = model.names
    return [str(name) for _, name in sorted(names.items() if isinstance(names, dict) else enumerate(names))]


def description_of(model: nn.Module) -> dict:
    """The architecture, as Ultralytics reads it from a YAML file."""
    description: Any = model.yaml
    return description


def raw_outputs(answer: Any, one2one: bool = False) -> dict[str, torch.Tensor]:
    """The outputs of the head before decoding: `boxes` (B, 4*reg_max, A), `scores` (B, classes, A), A places.

    Args:
        answer: of a network in eval mode, (decoded, raw), or in training, raw. one2one: of a head without NMS.
    """
    raw = answer[1] if isinstance(answer, tuple) else answer
    return raw.get("one2one" if one2one else "one2many", raw)
