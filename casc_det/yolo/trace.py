"""Trace an Ultralytics network with torch.fx, from the image to what its head reads out.

Box decoding is no part of the network, it is `casc_det.heads`. Leaves of the trace are the modules of torch.nn and
CQ; whatever Ultralytics builds of them is looked into.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from ultralytics.nn.modules import Detect, v10Detect
from ultralytics.nn.tasks import BaseModel

from casc_det.errors import ConversionError
from casc_det.neurons.activation import CQ
from casc_det.yolo.network import layers_of, strides_of

Readouts = list[tuple[str, int, torch.Tensor]]  # kind, level and map of each readout, see `casc_det.graph.Readout`


def _detect(head: Detect, maps: list[torch.Tensor]) -> Readouts:
    """Boxes and scores of each level; of a head with two branches, those that need no NMS."""
    branch = head.one2one if head.end2end else head.one2many
    parts = (("boxes", branch["box_head"]), ("scores", branch["cls_head"]))
    return [(kind, level, part[level](x)) for level, x in enumerate(maps) for kind, part in parts]


def _grid(head: Detect) -> tuple[list[int], int]:
    return strides_of(head), head.reg_max


@dataclass(frozen=True)
class HeadRule:
    """How a last layer is captured.

    Attributes:
        readouts: of the layer and what it reads (a map, or a list of maps) what is read out.
        grid: of the layer the pixels per cell of each level, and the bins of a box distance.
    """

    readouts: Callable[[Any, Any], Readouts]
    grid: Callable[[Any], tuple[list[int], int]]


HEADS: dict[type[nn.Module], HeadRule] = {  # by the type of the last layer itself: others inherit from Detect
    Detect: HeadRule(_detect, _grid),
    v10Detect: HeadRule(_detect, _grid),
}


class _Body(nn.Module):
    """A network without its decoding: image (B, 3, H, W) -> readouts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        head = layers_of(model)[-1] if isinstance(model, BaseModel) else model
        if type(head) not in HEADS:  # pose, OBB, ... inherit from Detect
            raise ConversionError(
                f"model: expected an Ultralytics detection model whose head is Detect, got {type(head).__name__}; "
                "segmentation, pose, OBB and classification models cannot be converted"
            )
        self.model = layers_of(model)

    def forward(self, x: torch.Tensor) -> Readouts:
        layers: list[Any] = list(self.model)
        outputs: list[torch.Tensor] = []
        for layer in layers[:-1]:
            outputs.append(layer(_pick(layer.f, outputs, x)))
        head = layers[-1]
        return HEADS[type(head)].readouts(head, _pick(head.f, outputs, x))


def _pick(source: int | list[int], outputs: Sequence[torch.Tensor], image: torch.Tensor) -> Any:
    """What a layer reads: the output of an earlier layer (-1: the one before), or a list of these."""
    if isinstance(source, int):
        return outputs[source] if outputs else image
    return [_pick(one, outputs, image) for one in source]


class _Tracer(fx.Tracer):
    """`chunk` and `split` unpack into getitem proxies."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, CQ) or super().is_leaf_module(module, qualified_name)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        proxy: Any = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if kind == "call_method" and target == "chunk":
            return tuple(proxy[i] for i in range(args[1] if len(args) > 1 else kwargs["chunks"]))
        if kind == "call_method" and target == "split" and isinstance(args[1], tuple | list):
            return tuple(proxy[i] for i in range(len(args[1])))
        return proxy


def trace(model: nn.Module) -> fx.GraphModule:
    """The traced body of a detection model; its modules are those of `model`, not copies.

    Raises:
        ConversionError: the model has another head, or its forward pass cannot be captured.
    """
    body = _Body(model)
    try:
        return fx.GraphModule(body, _Tracer().trace(body))
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, LookupError) as error:
        reason = str(error).splitlines()[0]
        raise ConversionError(
            f"model: its forward pass cannot be captured ({reason}); use an architecture without data-dependent "
            "control flow, such as yolov3-tiny, yolov5, yolov8"
        ) from error


def modules_of(traced: fx.GraphModule) -> dict[str, nn.Module]:
    """The module that is called at each call site of a trace, by the site's name."""
    modules = dict(traced.named_modules())
    return {node.name: modules[str(node.target)] for node in traced.graph.nodes if node.op == "call_module"}
