"""What `bench_engine.py` times beside the engines: the ANN in torch and as 8-bit integers, and other simulations.

`CONTENDERS`: each is a function of a `Network`, images (B, 3, H, W) in 0..1 and a number of time steps, and gives the
readouts.
"""

import importlib.util
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from casc_det import graph as g
from casc_det.conversion.integer import to_real
from casc_det.conversion.spiking import real_weights
from casc_det.neurons.functions import function_of
from casc_det.neurons.rule import NeuronParams, initial_state, neuron_step
from casc_det.simulation import PLAIN, SimulationSettings, Simulator, Step, depths

Readouts = dict[str, torch.Tensor]
CALIBRATION = 24  # images that ranges of 8-bit activations are taken from
OPSET, IR = 20, 10  # of ONNX


@dataclass(frozen=True, eq=False)
class Network:
    """A spiking graph in all the forms that are compared.

    Attributes:
        graph: as in its file. settings: burst and ramp; its engine and the rest are not used.
        int8: folder of the ONNX files of `write_int8`. threads: of other runtimes than torch.
    """

    graph: g.SpikingGraph
    settings: SimulationSettings = PLAIN
    int8: Path | None = None
    threads: int = 1

    @cached_property
    def real(self) -> g.SpikingGraph:
        """The real-valued graph in float32, or as it is in float64."""
        graph = to_real(self.graph)
        return g.moved(graph, torch.float32) if self.graph.integer else graph

    @cached_property
    def weights(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """(weight, bias) of each convolution, in real values."""
        dtype = self.real.dtype
        return {name: (w.to(dtype), b.to(dtype)) for name, (w, b) in real_weights(self.real).items()}


def forward_ann(network: Network, images: torch.Tensor, steps: int) -> Readouts:
    """The float32 network in torch: convolution with bias, then its activation, nothing quantised. steps: not used."""

    def activate(node: g.Neuron, z: torch.Tensor) -> torch.Tensor:
        if node.function == "relu":
            return z.clamp_(0, node.lam)
        return F.silu(z, inplace=True) if node.function == "silu" else function_of(node.function)(z)

    def convolve(node: g.Conv, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, *network.weights[node.name], node.stride, node.padding, node.dilation, node.groups)

    rules = {g.Input: lambda node: images, g.Conv: convolve, g.Neuron: activate, g.Readout: lambda node, x: x}
    return g.walk(network.real, rules, lambda node, *inputs: node.compute(*inputs))


def run_engine(engine: str, network: Network, images: torch.Tensor, steps: int | str) -> Readouts:
    """An engine of casc_det; only the readout of the last step is looked at. steps: also "auto"."""
    return last_step(engine, network, images, steps).readout


def last_step(engine: str, network: Network, images: torch.Tensor, steps: int | str) -> Step:
    return deque(simulator(network, engine).run(images, steps), maxlen=1).pop()


@cache
def simulator(network: Network, engine: str) -> Simulator:
    how = network.settings
    return Simulator(network.graph, SimulationSettings(engine, burst=how.burst, ramp=how.ramp))


def run_plain(network: Network, images: torch.Tensor, steps: int) -> Readouts:
    """Time step by time step, as research code does it: one convolution and one neuron step each, nothing counted."""
    graph, plan = network.real, network.settings.plan(network.real)
    depth = depths(graph)
    states, sums, before = {}, {}, {}

    def fire(node, x, t):
        rule = plan.rule("cif", t, depth[node.name] - 1)
        params = NeuronParams(1.0, rule.limit, None, rule.low, plan.burst, node.span[0], node.table_at(rule.ramp))
        spikes, states[node.name] = neuron_step(x, states.get(node.name) or initial_state(x, params), params)
        return spikes

    def add_up(node, x):
        sums[node.name] = sums.get(node.name, 0) + x
        return sums[node.name]

    def otherwise(node, *inputs):
        if node.spiking is not g.Spiking.TEMPORAL:
            return node.compute(*inputs)
        after = node.compute(add_up(node, *inputs))
        change, before[node.name] = after - before.get(node.name, 0), after
        return change

    for t in range(1, steps + 1):
        share = plan.injected(t) - plan.injected(t - 1)
        rules = {
            g.Input: lambda node, share=share: images * share,
            g.Conv: lambda node, x, share=share: node.compute(x) + (node.bias * share).view(1, -1, 1, 1),
            g.Neuron: partial(fire, t=t),
            g.Readout: add_up,
        }
        g.walk(graph, rules, otherwise)
    return {node.name: sums[node.name] / plan.injected(steps) for node in graph.of_type(g.Readout)}


def run_spikingjelly(network: Network, images: torch.Tensor, steps: int, spikes: dict | None = None) -> Readouts:
    """The same network of SpikingJelly's parts, layer by layer over all steps; `spikes` collects each layer's."""
    from spikingjelly.activation_based import functional, neuron

    graph = network.real
    awake = (torch.arange(steps) < graph.levels).to(images.dtype).view(-1, 1, 1, 1, 1)
    each = functional.seq_to_ann_forward

    def fire(node, x):
        levels = graph.levels
        layer = neuron.STBIFNode(1.0, level=levels + 1, pos_max=levels, neg_min=0, step_mode="m")
        signal = layer(x)
        if spikes is not None:
            spikes[node.name] = signal
        return signal

    def otherwise(node, x):
        if node.spiking is g.Spiking.TEMPORAL:
            after = each(x.cumsum(0), node.compute)
            return after.diff(dim=0, prepend=torch.zeros_like(after[:1]))
        return each(x, node.compute)

    rules = {
        g.Input: lambda node: images * awake,
        g.Conv: lambda node, x: each(x, node.compute).add_(node.bias.view(1, 1, -1, 1, 1) * awake),
        g.Neuron: fire,
        g.Readout: lambda node, x: x.sum(0) / min(steps, graph.levels),
        g.Add: lambda node, x, y: x + y,
        g.Concat: lambda node, *inputs: torch.cat(inputs, 2),
    }
    return g.walk(graph, rules, otherwise)


def run_onnxruntime(network: Network, images: torch.Tensor, steps: int) -> Readouts:
    """The ANN as 8-bit integers in onnxruntime. steps: not used."""
    return named(network, onnx_session(network).run(None, {"image": images.float().numpy()}))


def run_openvino(network: Network, images: torch.Tensor, steps: int) -> Readouts:
    """The ANN as 8-bit integers in OpenVINO, compiled for the shape of the images. steps: not used."""
    return named(network, openvino_request(network, images.shape).infer({"image": images.float().numpy()}).values())


def named(network: Network, values: Iterable[np.ndarray]) -> Readouts:
    names = [node.name for node in network.graph.of_type(g.Readout)]
    return dict(zip(names, map(torch.from_numpy, values), strict=True))


@cache
def onnx_session(network: Network) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = network.threads
    return onnxruntime.InferenceSession(network.int8 / "onnxruntime.onnx", options, providers=["CPUExecutionProvider"])


@cache
def openvino_request(network: Network, shape: tuple[int, ...]) -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # else OpenVINO tells its makers that it is used
    import openvino

    core = openvino.Core()
    model = core.read_model(network.int8 / "openvino.onnx")
    model.reshape(list(shape))
    how = {"INFERENCE_NUM_THREADS": network.threads, "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(model, "CPU", how).create_infer_request()


CONTENDERS: dict[str, Callable[[Network, torch.Tensor, Any], Readouts]] = {
    "ann": forward_ann,
    "fast": partial(run_engine, "fast"),
    "reference": partial(run_engine, "reference"),
    "spikingjelly": run_spikingjelly,
    "plain": run_plain,
    "onnxruntime": run_onnxruntime,
    "openvino": run_openvino,
}
INT8 = ("onnxruntime", "openvino")
ANNS = ("ann", *INT8)  # these have no time steps
NEEDS = {"spikingjelly": ["spikingjelly"], "onnxruntime": ["onnx", "onnxruntime"]}
NEEDS["openvino"] = [*NEEDS["onnxruntime"], "openvino"]


def unfit(what: str, network: Network) -> str | None:
    """Why a contender cannot run a network as it is set; None: it can."""
    missing = [package for package in NEEDS.get(what, []) if importlib.util.find_spec(package) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    functions = set(network.graph.functions)
    if what in INT8 and (unknown := functions - set(ONNX)):
        return f"no ONNX form of {', '.join(sorted(unknown))} here"
    if what == "spikingjelly" and functions != {"relu"}:
        return "its neurons follow ReLU alone"
    if what == "spikingjelly" and network.settings.of(network.graph).burst != 1:
        return "its neurons send one unit spike a step"
    return None


@torch.no_grad()
def readout_error(what: str, network: Network, images: torch.Tensor) -> float:
    """Relative error of an ANN's readouts, all of them together, against the float32 one in torch."""
    flat = lambda readouts: torch.cat([value.double().flatten() for value in readouts.values()])
    found, wanted = (flat(CONTENDERS[which](network, images, 0)) for which in (what, "ann"))
    return float((found - wanted).norm() / wanted.norm())


class _Onnx:
    """Collects the nodes and constants of an ONNX graph."""

    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def op(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def clip(self, name: str, x: str, low: float, high: float) -> str:
        ends = (self.constant(f"{name}.{end}", np.float32(value)) for end, value in (("low", low), ("high", high)))
        return self.op("Clip", name, x, *ends)


ONNX = {  # by function: ONNX ops for a node
    "relu": lambda to, node, x: to.clip(node.name, x, 0, node.lam),
    "relu6": lambda to, node, x: to.clip(node.name, x, 0, 6),
    "silu": lambda to, node, x: to.op("Mul", node.name, x, to.op("Sigmoid", f"{node.name}.sigmoid", x)),
    "hardswish": lambda to, node, x: to.op("HardSwish", node.name, x),
    "gelu": lambda to, node, x: to.op("Gelu", node.name, x),
    "mish": lambda to, node, x: to.op("Mish", node.name, x),
    "sigmoid": lambda to, node, x: to.op("Sigmoid", node.name, x),
    "identity": lambda to, node, x: to.op("Identity", node.name, x),
}


def onnx_model(network: Network) -> Any:
    """The ANN in real values, float32, as an ONNX model of any image size."""
    import onnx
    from onnx import helper

    to, integers = _Onnx(), lambda *values: np.array(values, dtype=np.int64)

    def conv(node, x):
        values = zip(("weight", "bias"), network.weights[node.name], strict=True)
        parts = [to.constant(f"{node.name}.{key}", value.float().numpy()) for key, value in values]
        fields = {"strides": node.stride, "dilations": node.dilation, "group": node.groups}
        return to.op("Conv", node.name, x, *parts, pads=node.padding * 2, **fields)

    def pool(node, x):
        fields = {"kernel_shape": node.kernel, "strides": node.stride, "dilations": node.dilation}
        return to.op("MaxPool", node.name, x, pads=node.padding * 2, ceil_mode=int(node.ceil_mode), **fields)

    def cut(node, x):
        ends = {"start": node.start, "stop": node.stop, "axis": 1}
        return to.op("Slice", node.name, x, *(to.constant(f"{node.name}.{k}", integers(v)) for k, v in ends.items()))

    def pad(node, x):
        left, right, top, bottom = node.padding
        ends = to.constant(f"{node.name}.pads", integers(0, 0, top, left, 0, 0, bottom, right))
        return to.op("Pad", node.name, x, ends)

    def enlarge(node, x):
        scale = to.constant(f"{node.name}.scale", np.array([1, 1, *node.scale], dtype=np.float32))
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return to.op("Resize", node.name, x, "", scale, **how)

    rules = {
        g.Input: lambda node: "image",
        g.Conv: conv,
        g.Neuron: lambda node, x: ONNX[node.function](to, node, x),
        g.MaxPool: pool,
        g.Add: lambda node, *inputs: to.op("Add", node.name, *inputs),
        g.Concat: lambda node, *inputs: to.op("Concat", node.name, *inputs, axis=1),
        g.Slice: cut,
        g.ZeroPad: pad,
        g.Upsample: enlarge,
        g.Readout: lambda node, x: to.op("Identity", node.name, x),
    }
    g.walk(network.real, rules, _no_form)
    maps = lambda name, *shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    outputs = [maps(node.name, "batch", None, None, None) for node in network.real.of_type(g.Readout)]
    image = maps("image", "batch", 3, "height", "width")
    graph = helper.make_graph(to.nodes, "ann", [image], outputs, to.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _no_form(node: g.Node, *inputs: str) -> str:
    raise SystemExit(f"bench_engine: '{node.name}' ({node.label}) has no ONNX form here; leave out {', '.join(INT8)}")


def write_int8(network: Network, images: torch.Tensor, folder: Path) -> None:
    """Write the 8-bit ANN into `folder`, a file for each runtime: static ranges of some images, weights by channel.

    onnxruntime gets ranges everywhere. OpenVINO fuses an activation that is no clip into its convolution where nothing
    is quantised between the two, so it is given inputs of convolutions alone.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter(images[:CALIBRATION])

        def get_next(self) -> dict | None:
            image = next(self.images, None)
            return None if image is None else {"image": image[None].float().numpy()}

    source = folder / "float.onnx"
    onnx.save(onnx_model(network), source)
    clips = all(node.function in ("relu", "relu6") for node in network.graph.of_type(g.Neuron))
    sparing = {"op_types_to_quantize": ["Conv"], "extra_options": {"OpTypesToExcludeOutputQuantization": ["Conv"]}}
    for what in INT8:
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
        types |= sparing if what == "openvino" and not clips else {}
        quantize_static(source, folder / f"{what}.onnx", Reader(), quant_format=QuantFormat.QDQ, **types)
