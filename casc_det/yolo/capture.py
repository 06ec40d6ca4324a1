"""Capture an Ultralytics detection model as a `Graph` with torch.fx.

The body (backbone, neck and the convolution chains of the Detect head) is traced; the box decoding is not part of
the network and lives in `heads.detect.decode`. State belongs to the call site: a module that is called three times
(SPPF's max pool) becomes three nodes.
"""

import operator

import torch
from torch import fx, nn
from ultralytics.nn.modules import Detect, v10Detect
from ultralytics.nn.tasks import DetectionModel

from casc_det import graph as g
from casc_det.errors import ConversionError
from casc_det.neurons.activation import MIN_CLIP, CQReLU

ACTIVATIONS = (nn.SiLU, nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardswish, nn.GELU, nn.Mish)
POINTWISE_MODULES = {nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.Hardsigmoid: "hardsigmoid"}
POINTWISE_CALLS = {torch.sigmoid: "sigmoid", "sigmoid": "sigmoid", torch.tanh: "tanh", "tanh": "tanh"}
DIVERGED = "its training has diverged: convert an earlier checkpoint, or train again with a smaller lr0"


class _Body(nn.Module):
    """A detection model without its decoding: image -> (boxes, scores) of each level."""

    def __init__(self, model: DetectionModel):
        super().__init__()
        head = model.model[-1] if isinstance(model, DetectionModel) else model
        if type(head) not in (Detect, v10Detect):  # pose, OBB, ... inherit from Detect
            raise ConversionError(
                f"model: expected an Ultralytics detection model whose head is Detect, got {type(head).__name__}; "
                "segmentation, pose, OBB and classification models cannot be converted"
            )
        self.model = model.model
        self.heads = head.one2one if head.end2end else head.one2many

    def forward(self, x):
        outputs = []
        for layer in self.model[:-1]:
            x = layer(self._pick(layer.f, x, outputs))
            outputs.append(x)
        maps = [self._pick(f, x, outputs) for f in self.model[-1].f]
        return [(self.heads["box_head"][i](m), self.heads["cls_head"][i](m)) for i, m in enumerate(maps)]

    def _pick(self, source, x, outputs):
        if isinstance(source, int):
            return x if source == -1 else outputs[source]
        return [self._pick(f, x, outputs) for f in source]


class _Tracer(fx.Tracer):
    """Leaves are torch.nn modules and CQReLU; `chunk` and `split` unpack into getitem proxies."""

    def is_leaf_module(self, module, qualified_name):
        return isinstance(module, CQReLU) or super().is_leaf_module(module, qualified_name)

    def create_proxy(self, kind, target, args, kwargs, *rest, **more):
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if kind == "call_method" and target == "chunk":
            return tuple(proxy[i] for i in range(args[1] if len(args) > 1 else kwargs["chunks"]))
        if kind == "call_method" and target == "split" and isinstance(args[1], tuple | list):
            return tuple(proxy[i] for i in range(len(args[1])))
        return proxy


def trace(model: DetectionModel) -> fx.GraphModule:
    """The traced body of a detection model; its modules are those of `model`, not copies."""
    body = _Body(model)
    try:
        return fx.GraphModule(body, _Tracer().trace(body))
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ConversionError(
            f"model: its forward pass cannot be captured ({reason}); use an architecture without data-dependent "
            "control flow, such as yolov3-tiny, yolov5, yolov8"
        ) from error


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(int(v) for v in value)


class _Refused(Exception):
    """Carries (what, remedy) of one op from its rule to `_Builder.build`."""


def _refuse(what: str, remedy: str):
    raise _Refused(what, remedy)


def _argument(node: fx.Node, place: int, name: str, default=None):
    """An argument of a traced call, given by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


class _Builder:
    """Turns traced fx nodes into graph nodes, knowing each one's number of channels."""

    def __init__(self, traced: fx.GraphModule):
        self.traced, self.modules = traced, dict(traced.named_modules())
        self.nodes: list[g.Node] = []
        self.channels: dict[str, int] = {}
        self.parts: dict[str, list[tuple[int, int]]] = {}  # chunk/split -> channel ranges

    def emit(self, node: g.Node, channels: int):
        self.nodes.append(node)
        self.channels[node.name] = channels

    def build(self) -> list[g.Node]:
        for node in self.traced.graph.nodes:
            try:
                self.convert(node)
            except _Refused as refused:
                sources = tuple(n.name for n in node.all_input_nodes)
                self.emit(g.Unsupported(node.name, sources, *refused.args), self.channels.get((*sources, "")[0], 0))
            except (TypeError, ValueError, AttributeError, LookupError) as error:  # a layer that was tampered with
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                raise ConversionError(f"model: layer '{node.target}' cannot be read ({reason})") from error
        return self.nodes

    def convert(self, node: fx.Node):
        if node.op == "placeholder":
            self.emit(g.Input(node.name, ()), 3)
        elif node.op == "call_module":
            self.module(node, self.modules[node.target])
        elif node.op in ("call_function", "call_method"):
            self.function(node)
        elif node.op == "output":
            for level, pair in enumerate(node.args[0]):
                for kind, source in zip(("boxes", "scores"), pair, strict=True):
                    self.emit(g.Readout(f"{kind}{level}", (source.name,), kind, level), self.channels[source.name])
        else:
            _refuse(node.op, "use plain modules")

    def module(self, node: fx.Node, m: nn.Module):
        name, source = node.name, node.args[0].name
        same = self.channels[source]
        if isinstance(m, nn.Conv2d):
            if m.padding_mode != "zeros" or isinstance(m.padding, str):
                _refuse(f"Conv2d with padding {m.padding_mode} {m.padding}", "use numeric zero padding")
            weight = m.weight.detach().double().clone()
            bias = torch.zeros(m.out_channels).double() if m.bias is None else m.bias.detach().double().clone()
            self.check_finite(node, weight=weight, bias=bias)
            conv = g.Conv(name, (source,), weight, bias, m.stride, m.padding, m.dilation, m.groups)
            self.emit(conv, m.out_channels)
        elif isinstance(m, nn.BatchNorm2d):
            scale = 1 / torch.sqrt(m.running_var.double() + m.eps) * (1 if m.weight is None else m.weight.detach())
            shift = (0 if m.bias is None else m.bias.detach()) - m.running_mean * scale
            self.check_finite(node, statistics=scale, shift=shift)
            self.emit(g.BatchNorm(name, (source,), scale, shift), same)
        elif isinstance(m, CQReLU):
            if m.alpha < 1:
                _refuse(f"CQReLU with alpha={m.alpha:.3g}", "it is still mixed with another activation; set alpha to 1")
            self.check_finite(node, clip=m.lam.detach())
            if (clip := float(m.lam.detach())) <= 0:
                raise ConversionError(
                    f"model: layer '{node.target}' has the clip lam={clip:.4g}, expected a number above 0; {DIVERGED}"
                )
            lam = max(clip, MIN_CLIP)
            self.emit(g.Activation(name, (source,), lam, m.levels), same)
        elif isinstance(m, nn.MaxPool2d):
            geometry = (_pair(m.kernel_size), _pair(m.stride), _pair(m.padding), _pair(m.dilation), m.ceil_mode)
            self.emit(g.MaxPool(name, (source,), *geometry), same)
        elif isinstance(m, nn.AvgPool2d) and not m.ceil_mode and m.count_include_pad and m.divisor_override is None:
            self.emit(g.AvgPool(name, (source,), _pair(m.kernel_size), _pair(m.stride), _pair(m.padding)), same)
        elif isinstance(m, nn.Upsample):
            factors = m.scale_factor if isinstance(m.scale_factor, tuple) else (m.scale_factor,) * 2
            if m.mode != "nearest" or any(f is None or f != int(f) for f in factors):
                _refuse(f"Upsample {m.mode}", "use nearest upsampling by an integer factor")
            self.emit(g.Upsample(name, (source,), _pair(factors)), same)
        elif isinstance(m, nn.ZeroPad2d):
            self.emit(g.ZeroPad(name, (source,), tuple(m.padding)), same)
        elif isinstance(m, nn.Identity | nn.Dropout):
            self.emit(g.Slice(name, (source,), 0, same), same)
        elif type(m) in POINTWISE_MODULES:
            self.emit(g.Pointwise(name, (source,), POINTWISE_MODULES[type(m)]), same)
        elif isinstance(m, ACTIVATIONS):
            what = f"activation {type(m).__name__}"
            _refuse(what, "train with CQReLU first: casc-det train model=... weights=... teacher=...")
        else:
            _refuse(f"module {type(m).__name__}", "replace it, or use yolov3-tiny, yolov5n or yolov8n")

    def check_finite(self, node: fx.Node, **values: torch.Tensor) -> None:
        """Raise ConversionError where a value of a layer is NaN or infinite."""
        for what, value in values.items():
            if not bool(value.isfinite().all()):
                raise ConversionError(
                    f"model: layer '{node.target}' has values of {what} that are not finite (NaN, infinity); {DIVERGED}"
                )

    def function(self, node: fx.Node):
        name, target = node.name, node.target
        sources = tuple(n.name for n in node.all_input_nodes)
        plain = not node.kwargs and len(sources) == len(node.args) == 2
        if target in (operator.add, torch.add, operator.iadd) and plain:
            self.emit(g.Add(name, sources), self.channels[sources[0]])
        elif target in (torch.cat, torch.concat):
            parts = tuple(n.name for n in _argument(node, 0, "tensors"))
            dim = _argument(node, 1, "dim", 0)
            if dim != 1:
                _refuse(f"cat along dimension {dim}", "concatenate along channels")
            self.emit(g.Concat(name, parts), sum(self.channels[p] for p in parts))
        elif target in ("chunk", "split"):
            self.parts[name] = self._ranges(node)
        elif target is operator.getitem and node.args[0].name in self.parts:
            start, stop = self.parts[node.args[0].name][node.args[1]]
            self.emit(g.Slice(name, (node.args[0].args[0].name,), start, stop), stop - start)
        elif target in POINTWISE_CALLS:
            self.emit(g.Pointwise(name, sources, POINTWISE_CALLS[target]), self.channels[sources[0]])
        else:
            label = target if isinstance(target, str) else getattr(target, "__name__", str(target))
            _refuse(f"function {label}", "replace it, or use yolov3-tiny, yolov5n or yolov8n")

    def _ranges(self, node: fx.Node) -> list[tuple[int, int]]:
        amount = _argument(node, 1, "chunks" if node.target == "chunk" else "split_size")
        total, dim = self.channels[node.args[0].name], _argument(node, 2, "dim", 0)
        if dim != 1:
            _refuse(f"{node.target} along dimension {dim}", "split along channels")
        if node.target == "chunk":
            size = -(-total // amount)
            amount = [min(size, total - i * size) for i in range(amount)]
        elif isinstance(amount, int):
            amount = [min(amount, total - i) for i in range(0, total, amount)]
        ranges, start = [], 0
        for size in amount:
            ranges.append((start, start + size))
            start += size
        return ranges


def capture(model: DetectionModel, imgsz: int = 640) -> g.Graph:
    """Capture an Ultralytics `DetectionModel`, which is left unchanged, as a `Graph` in float64.

    Ops without a counterpart become `Unsupported` nodes, which conversion lists and refuses.

    Raises:
        ConversionError: the model is no detector, its forward pass cannot be traced at all, or a value of it is not
            finite.
    """
    nodes = _Builder(trace(model)).build()  # tracing runs no layer, so BatchNorm statistics stay as they are
    head, names = model.model[-1], model.names
    names = [str(name) for _, name in sorted(names.items() if isinstance(names, dict) else enumerate(names))]
    return g.Graph(nodes, names, [int(s) for s in head.stride], head.reg_max, imgsz)
