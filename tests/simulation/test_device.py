"""What runs on a GPU, as far as a machine without one can tell: the dtype of sums, and where values are read."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from conftest import small_graph, small_images
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from casc_det import graph as g
from casc_det import simulation
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph import moved
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.simulation import PLAIN, State
from casc_det.simulation.fast.convolution import SpikeConvolution
from casc_det.simulation.reference import ReferenceEngine
from casc_det.simulation.step import Extras
from casc_det.simulation.twin import AnnOutput, ann_forward
from casc_det.studies import traces, tracing


class Convolutions(TorchDispatchMode):
    """Notes the dtype of everything that is convolved."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "convolution" in str(function):
            self.dtypes += [x.dtype for x in args if isinstance(x, torch.Tensor)]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_other_devices_convolve_in_float64(precision):
    graph = moved(to_integer(convert_graph(small_graph("groups", "add", "max"))[0]), precision)
    graph = replace(graph, nodes=[g.on_meta(node) for node in graph.nodes])
    images = small_images().to("meta", precision)
    with Convolutions() as seen:
        ann_forward(graph, images)
        state = State(graph, PLAIN, 0, images, {}, {}, {}, torch.zeros(len(images), dtype=torch.bool, device="meta"))
        ReferenceEngine(graph, PLAIN).advance(state, 1, Extras())
        for node in graph.of_type(g.Conv):
            x = torch.empty(2, node.weight.shape[1] * node.groups, 9, 9, dtype=torch.uint8, device="meta")
            assert SpikeConvolution(node, True)(x, 1).dtype == precision
    assert set(seen.dtypes) == {torch.float64} and len(seen.dtypes) >= 6 * len(graph.of_type(g.Conv))


class Tf32(TorchFunctionMode):
    """Convolutions as a GPU may do them: ten bits of each float32 factor, and an error of fractions in any dtype."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.conv2d or function is torch.conv2d:
            x, weight, *rest = args
            if x.dtype == torch.float32:
                x, weight = ((y.view(torch.int32) & ~0x1FFF).view(torch.float32) for y in (x, weight))
            y = function(x, weight, *rest, **(kwargs or {}))
            return y + y.abs().max() * (1e-6 if y.dtype == torch.float32 else 1e-13)
        return function(*args, **(kwargs or {}))


class OnGpu(torch.Tensor):
    """A tensor that says it lies on a GPU; so does all that is computed from it, until `.cpu()`."""

    @property
    def device(self):
        return torch.device("cuda:0")

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")


def test_integer_sums_are_exact_whatever_a_gpu_does_to_them():
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (8, 8, 3, 3), generator=random).float()
    x = torch.randint(0, 4081, (2, 8, 9, 9), generator=random).float()  # 16 steps of pixels
    node = g.Conv("c", (), weight, torch.zeros(8))
    want = node.compute(x)
    with Tf32():
        assert not torch.equal(torch.nn.functional.conv2d(x, weight), want)
        found = node.compute(x.as_subclass(OnGpu), integer=True)
    assert torch.equal(found.cpu(), want) and found.dtype == torch.float32


def test_study_brings_everything_home_before_numpy(monkeypatch):
    graph = to_integer(convert_graph(small_graph("conv", "max"))[0])
    image = small_images(1).float()
    simulator, ann = simulation.Simulator(graph), ann_forward(graph, image)
    want = tracing.trace_image(simulator, image, (6, 7), ann, (1, 4, 8), DetectionSettings())

    def steps_on_gpu(*args, compare):
        for step in simulation.simulate(graph, *args, compare={name: n.cpu() for name, n in compare.items()}):
            kept = ("fired", "sops_by_layer", "match", "quiescent")
            away = {name: getattr(step, name).as_subclass(OnGpu) for name in kept}
            total = lambda name, total=step.total: total(name).as_subclass(OnGpu)
            yield replace(step, total=total, **away)

    monkeypatch.setattr(simulator, "run", steps_on_gpu)
    ann = AnnOutput(*({name: x.as_subclass(OnGpu) for name, x in part.items()} for part in (ann.readout, ann.counts)))
    found = tracing.trace_image(simulator, image, (6, 7), ann, (1, 4, 8), DetectionSettings())
    for field in fields(traces.Trace):
        if field.name != "seconds":
            assert np.array_equal(getattr(found, field.name), getattr(want, field.name)), field.name
