"""Capture an Ultralytics detection model as a `Graph`, call site by call site by the rules of `casc_det.yolo.rules`.

State belongs to the call site: a module that is called three times (SPPF's max pool) becomes three nodes. What no rule
knows, or its rule refuses, becomes an `Unsupported` node, which conversion lists with all others.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import fx, nn

from casc_det import graph as g
from casc_det.errors import ConversionError, in_words
from casc_det.yolo.network import layers_of, names_of
from casc_det.yolo.rules import FUNCTIONS, MODULES, Call, Refused, refuse_function
from casc_det.yolo.trace import HEADS, modules_of, trace


class _Builder:
    """Turns traced fx nodes into graph nodes, knowing how many channels each one gives."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced, self.modules = traced, modules_of(traced)
        self.nodes: list[g.Node] = []
        self.channels: dict[str, int] = {}

    def build(self) -> list[g.Node]:
        for node in self.traced.graph.nodes:
            sources = tuple(source.name for source in node.all_input_nodes)
            call = Call(node, sources, self.channels.get((*sources, "")[0], 0))
            self.channels[call.name] = call.channels
            try:
                self.convert(call)
            except Refused as refused:
                self.emit(g.Unsupported(call.name, sources, *refused.args))
            except (TypeError, ValueError, AttributeError, LookupError) as error:  # a layer that was tampered with
                reason = in_words(error)
                raise ConversionError(f"model: layer '{node.target}' cannot be read ({reason})") from error
        return self.nodes

    def convert(self, call: Call) -> None:
        """Emit what a call site stands for."""
        node: Any = call.node
        if node.op == "placeholder":
            self.emit(g.Input(call.name, ()))
        elif node.op == "call_module":
            module = self.modules[call.name]
            kind = next(kind for kind in type(module).__mro__ if kind in MODULES)
            self.emit(MODULES[kind](call, module))
        elif node.op in ("call_function", "call_method"):
            self.emit(FUNCTIONS.get(node.target, refuse_function)(call))
        elif node.op == "output":
            for kind, level, source in node.args[0]:
                self.emit(g.Readout(f"{kind}{level}", (source.name,), kind, level))
        else:
            raise Refused(node.op, "use plain modules")

    def emit(self, node: g.Node | None) -> None:
        """Append a node, and note its number of channels, as far as it is known behind what is refused."""
        if node is not None:
            self.nodes.append(node)
            with suppress(ConversionError):  # what does not fit is said by conversion, or where the graph is made
                self.channels[node.name] = node.out_channels([self.channels[name] for name in node.inputs])


def capture(model: nn.Module, imgsz: int = 640) -> g.Graph:
    """Capture an Ultralytics `DetectionModel`, which is left unchanged, as a `Graph` in float64 on the CPU.

    Args:
        imgsz: longest side of the images in pixels that the network was trained for.

    Raises:
        ConversionError: the model is no detector, its forward pass cannot be traced at all, or a value of it is not
            finite.
    """
    nodes = _Builder(trace(model)).build()  # tracing runs no layer, so BatchNorm statistics stay as they are
    head = layers_of(model)[-1]
    strides, reg_max = HEADS[type(head)].grid(head)
    return g.moved(g.Graph(nodes, names_of(model), strides, reg_max, imgsz), torch.float64)
