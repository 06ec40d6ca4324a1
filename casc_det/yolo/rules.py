"""Rules of capture: one table for modules of torch.nn and CQ, one for functions; a new op is one entry.

A rule makes the graph node of one call site, or refuses it and says what to do instead.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import fx, nn

from casc_det import graph as g
from casc_det.errors import ConversionError
from casc_det.neurons.activation import CQ, MIN_CLIP
from casc_det.yolo.install import REPLACED

DIVERGED = "its training has diverged: convert an earlier checkpoint, or train again with a smaller lr0"
REPLACE = "replace it, or use yolov3-tiny, yolov5n or yolov8n"


class Refused(Exception):
    """An op that cannot be captured: (what it is, what to do instead)."""


@dataclass(frozen=True)
class Call:
    """A call site as its rule sees it.

    Attributes:
        node: the traced call. sources: names of the nodes that it reads, each once.
        channels: of what the first of them gives.
    """

    node: fx.Node
    sources: tuple[str, ...]
    channels: int

    @property
    def name(self) -> str:
        """Of the graph node to be made."""
        return self.node.name

    def argument(self, place: int, name: str, default: object = None) -> Any:
        """An argument, given by place or by name."""
        return self.node.args[place] if len(self.node.args) > place else self.node.kwargs.get(name, default)

    def check_finite(self, **values: torch.Tensor) -> None:
        """Raise ConversionError where a value of a layer is NaN or infinite."""
        for what, value in values.items():
            if not bool(value.isfinite().all()):
                raise ConversionError(
                    f"model: layer '{self.node.target}' has values of {what} that are not finite (NaN, infinity); "
                    f"{DIVERGED}"
                )


# modules --------------------------------------------------------------------------------------------------------------


def _conv(call: Call, module: nn.Conv2d) -> g.Node:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise Refused(f"Conv2d with padding {module.padding_mode} {module.padding}", "use numeric zero padding")
    weight = module.weight.detach().double().clone()
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach().double().clone()
    call.check_finite(weight=weight, bias=bias)
    geometry = (_pair(module.stride), _pair(module.padding), _pair(module.dilation), module.groups)
    return g.Conv(call.name, call.sources, weight, bias, *geometry)


def _batch_norm(call: Call, module: nn.BatchNorm2d) -> g.Node:
    if module.running_mean is None or module.running_var is None:
        raise Refused("BatchNorm2d without running statistics", "train it with track_running_stats")
    scale = 1 / torch.sqrt(module.running_var.double() + module.eps)
    scale = scale * (1 if module.weight is None else module.weight.detach())
    shift = (0 if module.bias is None else module.bias.detach()) - module.running_mean * scale
    call.check_finite(statistics=scale, shift=shift)
    return g.BatchNorm(call.name, call.sources, scale, shift)


def _cq(call: Call, module: CQ) -> g.Node:
    if module.alpha < 1:
        remedy = "it is still mixed with another activation; set alpha to 1"
        raise Refused(f"{type(module).__name__} with alpha={module.alpha:.3g}", remedy)
    call.check_finite(clip=module.clip.detach())
    if (clip := float(module.clip.detach())) <= 0:
        raise ConversionError(
            f"model: layer '{call.node.target}' has the clip lam={clip:.4g}, expected a number above 0; {DIVERGED}"
        )
    return g.Activation(call.name, call.sources, max(clip, MIN_CLIP), module.levels, module.function)


def _max_pool(call: Call, module: nn.MaxPool2d) -> g.Node:
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
    return g.MaxPool(call.name, call.sources, kernel, stride, padding, _pair(module.dilation), module.ceil_mode)


def _avg_pool(call: Call, module: nn.AvgPool2d) -> g.Node:
    if module.ceil_mode or not module.count_include_pad or module.divisor_override is not None:
        _refuse_module(call, module)
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
    return g.AvgPool(call.name, call.sources, kernel, stride, padding)


def _upsample(call: Call, module: nn.Upsample) -> g.Node:
    factors = module.scale_factor if isinstance(module.scale_factor, tuple) else (module.scale_factor,) * 2
    if module.mode != "nearest" or any(f is None or f != int(f) for f in factors):
        raise Refused(f"Upsample {module.mode}", "use nearest upsampling by an integer factor")
    return g.Upsample(call.name, call.sources, _pair(factors))


def _zero_pad(call: Call, module: nn.ZeroPad2d) -> g.Node:
    return g.ZeroPad(call.name, call.sources, module.padding)


def _identity(call: Call, module: nn.Module) -> g.Node:
    return g.Slice(call.name, call.sources, 0, call.channels)


def _pointwise(function: str) -> Callable[..., g.Node]:
    return lambda call, module=None: g.Pointwise(call.name, call.sources, function)


def _refuse_activation(call: Call, module: nn.Module) -> NoReturn:
    remedy = "give it CQ activations: casc-det convert ... data=images/ levels=32, or train it first: casc-det train"
    raise Refused(f"activation {type(module).__name__}", remedy)


def _refuse_module(call: Call, module: nn.Module) -> NoReturn:
    raise Refused(f"module {type(module).__name__}", REPLACE)


MODULES: dict[type[nn.Module], Callable[[Call, Any], g.Node]] = {  # also for what inherits from a type
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batch_norm,
    CQ: _cq,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.Upsample: _upsample,
    nn.ZeroPad2d: _zero_pad,
    nn.Identity: _identity,
    nn.Dropout: _identity,
    nn.Sigmoid: _pointwise("sigmoid"),
    nn.Tanh: _pointwise("tanh"),
    nn.Hardsigmoid: _pointwise("hardsigmoid"),
    nn.Module: _refuse_module,
}
MODULES |= dict.fromkeys(REPLACED, _refuse_activation)

# functions ------------------------------------------------------------------------------------------------------------


def _add(call: Call) -> g.Node:
    if call.node.kwargs or not len(call.sources) == len(call.node.args) == 2:
        refuse_function(call)
    return g.Add(call.name, call.sources)


def _concat(call: Call) -> g.Node:
    if (dim := call.argument(1, "dim", 0)) != 1:
        raise Refused(f"cat along dimension {dim}", "concatenate along channels")
    return g.Concat(call.name, tuple(part.name for part in call.argument(0, "tensors")))


def _divide(call: Call) -> None:
    """`chunk` and `split` are no nodes; each of their parts is one, see `_part`."""
    if (dim := call.argument(2, "dim", 0)) != 1:
        raise Refused(f"{call.node.target} along dimension {dim}", "split along channels")


def _part(call: Call) -> g.Node:
    whole: Any = call.argument(0, "a")
    division = Call(whole, tuple(source.name for source in whole.all_input_nodes), call.channels)
    if FUNCTIONS.get(whole.target) is not _divide or division.argument(2, "dim", 0) != 1:
        refuse_function(call)
    sizes = division.argument(1, "chunks" if whole.target == "chunk" else "split_size")
    if whole.target == "chunk":
        sizes = -(-call.channels // sizes)
    if isinstance(sizes, int):
        sizes = [min(sizes, call.channels - start) for start in range(0, call.channels, sizes)]
    start = sum(sizes[: call.argument(1, "b")])
    return g.Slice(call.name, division.sources, start, start + sizes[call.argument(1, "b")])


def refuse_function(call: Call) -> NoReturn:
    """The rule of functions that have none."""
    target = call.node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    raise Refused(f"function {name}", REPLACE)


FUNCTIONS: dict[Callable | str, Callable[[Call], g.Node | None]] = {  # a method by its name
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    torch.cat: _concat,
    torch.concat: _concat,
    "chunk": _divide,
    "split": _divide,
    operator.getitem: _part,
    torch.sigmoid: _pointwise("sigmoid"),
    "sigmoid": _pointwise("sigmoid"),
    torch.tanh: _pointwise("tanh"),
    "tanh": _pointwise("tanh"),
}


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)
