"""Helpers of the tests: small random networks, and live YOLO models with random weights."""

import copy
import json
import os
import random
import signal
from functools import cache
from pathlib import Path

import no_network  # noqa: F401  before anything else
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

import casc_det.yolo  # noqa: F401  prepares Ultralytics, before anything imports it
from casc_det import graph as g
from casc_det import simulation


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Every test, and every fixture that it is the first to use, begins with the same random numbers in any order."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def attempts():
    """The file that notes attempts to reach the network, also swallowed ones; a test that leaves any in it fails."""
    log = Path(os.environ["NO_NETWORK_LOG"])
    yield log
    tried = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    assert not tried, f"attempts to reach the network: {tried}"


settings.register_profile(
    "casc_det",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("casc_det")
torch.set_num_threads(1)  # small networks: faster, and one thread always sums in the same order

OPS = ("conv", "norm", "groups", "max", "avg", "add", "concat", "upsample", "pad", "slice", "sigmoid")
EXACT_OPS = [op for op in OPS if op != "sigmoid"]  # dyadic rationals throughout: equality means equality
NASTY = (
    *("../../up", "..", ".", "", "/etc/x", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "\x1b[2J", "x" * 300, "人" * 100),
    *("-rf", ".hidden", "a ", " a", "\u202egpj.exe", "\ud800", "\ufeff", "a-0123456789abcdef", "0123456789abcdef"),
)
YOLOS = ("yolov3-tiny", "yolov5n", "yolov8n")


def small_graph(*ops: str, levels: int = 4, seed: int = 0, function: str = "relu") -> g.Graph:
    """A small detector with random weights: Input, convolution, activation, then `ops` in turn, then two readouts.

    Without "sigmoid" and with levels a power of two all values are dyadic rationals: arithmetic in float64 is exact
    and inputs that lie on a rounding boundary are frequent.
    """
    generator = torch.Generator().manual_seed(seed)
    nodes, channels = [g.Input("image", ())], {"image": 3}
    dyadic = "sigmoid" not in ops

    def values(*shape):
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.round(x * 8) / 8 if dyadic else x

    def emit(kind, *inputs, channels_out=None, **fields):
        node = kind(f"{kind.__name__.lower()}{len(nodes)}", inputs, **fields)
        nodes.append(node)
        channels[node.name] = channels_out or channels[inputs[0]]
        return node.name

    def conv(x, out, kernel=3, **fields):
        per_group = channels[x] // fields.get("groups", 1)
        weight = values(out, per_group, kernel, kernel) / 2
        return emit(g.Conv, x, channels_out=out, weight=weight, bias=values(out), **fields)

    def fire(x, lam=None):
        return emit(g.Activation, x, lam=lam or (0.5, 1.0, 2.0)[len(nodes) % 3], levels=levels, function=function)

    x = fire(conv("image", 4, padding=(1, 1)))
    for op in ops:
        match op:
            case "conv":
                x = fire(conv(x, 4, stride=(2, 1), padding=(1, 0)))
            case "norm":
                x = conv(x, 4, padding=(1, 1))
                x = fire(emit(g.BatchNorm, x, scale=values(4), shift=values(4)))
            case "groups":
                x = fire(conv(x, 2 * channels[x], padding=(2, 2), dilation=(2, 2), groups=channels[x]))
            case "max":
                x = emit(g.MaxPool, x, kernel=(3, 3), stride=(1, 1), padding=(1, 1))
            case "avg":
                x = emit(g.AvgPool, x, kernel=(2, 2), stride=(1, 1))
            case "add":
                x = fire(conv(x, 4, padding=(1, 1)), lam=2.0)
                x = emit(g.Add, x, fire(conv(x, 4, padding=(1, 1)), lam=2.0))
            case "concat":
                y = fire(conv(x, 4, padding=(1, 1)))
                x = emit(g.Concat, x, y, channels_out=channels[x] + 4)
            case "upsample":
                x = emit(g.Upsample, x, scale=(2, 1))
            case "pad":
                x = emit(g.ZeroPad, x, padding=(1, 0, 2, 1))
            case "slice":
                x = emit(g.Slice, x, start=1, stop=channels[x], channels_out=channels[x] - 1)
            case "sigmoid":
                x = emit(g.Pointwise, x, function="sigmoid")
            case _:
                raise ValueError(op)
    for name, kind, count in (("boxes0", "boxes", 4), ("scores0", "scores", 2)):
        head = conv(x, count, kernel=1)
        nodes.append(g.Readout(name, (head,), kind, 0))
    return g.Graph(nodes, ["cat", "dog"], [1], 1, 64, {"seed": seed})


def simulate(graph, images, timesteps="auto", neuron="cif", schedule="wsc", engine="fast", **options):
    """`casc_det.simulate` with the fields of its settings as arguments."""
    corrections = {name: options.pop(name) for name in ("hysteresis", "delay", "burst", "ramp") if name in options}
    settings = simulation.SimulationSettings(engine, neuron, schedule, **corrections)
    return simulation.simulate(graph, images, timesteps, settings, **options)


def small_images(batch: int = 2, size: int = 6, seed: int = 0) -> torch.Tensor:
    """Random images (batch, 3, size, size + 1) whose values are multiples of 1/8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 9, (batch, 3, size, size + 1), generator=generator).double() / 8


def live_yolo(name: str, levels: int = 4):
    """(model, images): an Ultralytics model in float64 with CQReLU whose random weights make most sites fire.

    Each call gives a copy of its own, so that no test can change what another one gets.
    """
    return copy.deepcopy(_live_yolo(name, levels))


@cache
def _live_yolo(name: str, levels: int):
    from casc_det.yolo.install import cq_sites, install_cq

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = float_yolo(name).double()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.3)
                module.momentum = 1.0  # the running statistics are those of the one batch below
        install_cq(model, levels, "relu")
        for lam in {id(site.lam): site.lam for site in cq_sites(model)}.values():
            lam.data.fill_(1.5 + torch.rand(()).item())
        images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
        with torch.no_grad():
            model.train()(images)
    return model.eval(), images


def float_yolo(name: str, classes: int = 5):
    """An Ultralytics detection model as it is built from its YAML."""
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", nc=classes, verbose=False).eval()


def live_float(name: str = "yolov8n"):
    """(model, images): the network of `live_yolo` with SiLU in place of CQReLU, in float32."""
    from casc_det.neurons.activation import CQ

    model, images = live_yolo(name)
    for parent in model.modules():
        for key, child in parent._modules.items():
            if isinstance(child, CQ):
                setattr(parent, key, child.original)
    return model.float(), images.float()


def untrained(name: str, levels: int = 8):
    """(model, images): a float network of random weights with CQReLU, whose clips are fitted to these images."""
    from casc_det.yolo.calibrate import calibrate_clips
    from casc_det.yolo.install import install_cq

    torch.manual_seed(0)
    model, images = float_yolo(name), torch.rand(4, 3, 96, 96)
    install_cq(model, levels, "relu")
    calibrate_clips(model, [images])
    return model, images


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """The file of an integer graph that finds boxes."""
    from casc_det import convert

    return convert(live_yolo("yolov8n")[0], imgsz=64).save(tmp_path_factory.mktemp("weights") / "live.safetensors")


@pytest.fixture
def image_file(tmp_path) -> Path:
    """The file of an image of noise, 90 x 60 pixels."""
    values = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture(params=YOLOS)
def yolo(request):
    return live_yolo(request.param)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A spiking graph of 64 px, Q = 4, with random weights."""
    from casc_det import convert

    return convert(live_yolo("yolov8n")[0], imgsz=64).save(tmp_path_factory.mktemp("w") / "live.safetensors")


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory, tiny_weights):
    """A COCO data set whose objects are the ANN's own detections: its mAP is high, that of early steps is not."""
    from casc_det import SpikingYOLO

    root, rng = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    model = SpikingYOLO(tiny_weights)
    names = [{"id": i + 1, "name": name} for i, name in model.names.items()]
    content = {"images": [], "annotations": [], "categories": names}
    for k in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(root / f"{k}.png")
        content["images"].append({"id": k + 1, "width": 80, "height": 60, "file_name": f"{k}.png"})
        found = model.ann(str(root / f"{k}.png"), conf=0.001).boxes
        for (x1, y1, x2, y2), label in list(zip(found.xyxy.tolist(), found.cls.tolist(), strict=True))[:6]:
            entry = {"id": len(content["annotations"]) + 1, "image_id": k + 1, "category_id": int(label) + 1}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            content["annotations"].append(entry)
    (root / "instances.json").write_text(json.dumps(content))
    return root / "instances.json"


@pytest.fixture(scope="session")
def tiny_study(tiny_weights, tiny_coco, tmp_path_factory):
    """Folder and records of a study of `tiny_coco` up to T = 40 with every axis of the grid."""
    from casc_det import study

    axes = {"neurons": "cif,if,signed_if", "hysteresis": 0.25, "delay": 0.5, "corruptions": "noise", "severities": 2}
    place = {"images": tiny_coco.parent, "project": tmp_path_factory.mktemp("study"), "imgsz": 64}
    return study(tiny_weights, tiny_coco, timesteps="1..40", **place, **axes)


@pytest.fixture(scope="module")
def spiking():
    """A network of a few layers, so small that a process takes longer to start than to run it."""
    from casc_det.conversion.integer import to_integer
    from casc_det.conversion.spiking import convert_graph

    return to_integer(convert_graph(small_graph("max", "add"))[0])


@pytest.fixture
def place(tmp_path, spiking):
    """Weights, a COCO data set of three images, and a float network for against=."""
    from casc_det.graph.file import save_graph

    save_graph(spiking, tmp_path / "net.safetensors")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
    for k in range(3):
        values = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "images" / f"{k}.png")
        content["images"].append({"id": k + 1, "file_name": f"{k}.png", "width": 64, "height": 48})
        box = {"bbox": [8, 8, 24, 20], "area": 480, "iscrowd": 0}
        content["annotations"].append({"id": k + 1, "image_id": k + 1, "category_id": k % 2 + 1, **box})
    (tmp_path / "data.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch):
    """Runs whose figures do not matter take a tenth of the time without them."""
    from casc_det.evaluation import report
    from casc_det.studies import report as study_report

    for module in (report, study_report):
        monkeypatch.setattr(module, "save_figures", lambda *_: [])


@pytest.fixture
def signals_of_a_terminal():
    """Under nohup or in the background of a script some signals are ignored from the start."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
