"""tools/contenders.py and tools/bench_engine.py: what is timed beside the engines is the same network."""

import json
from dataclasses import replace

import bench_engine
import contenders
import pytest
import torch
from conftest import live_yolo, simulate, small_graph, small_images
from contenders import CONTENDERS, INT8, Network, forward_ann, run_plain, unfit
from fuzz_models import small_detector

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.file import fingerprint, save_graph
from casc_det.neurons.functions import function_of
from casc_det.simulation import SimulationSettings
from casc_det.yolo.capture import capture

OPS = ("conv", "norm", "add", "max", "concat", "upsample", "pad", "slice")


def captured(function: str = "relu", levels: int = 4) -> g.Graph:
    graph = small_graph(*OPS, levels=levels)
    follow = lambda node: replace(node, function=function) if isinstance(node, g.Activation) else node
    return replace(graph, nodes=[follow(node) for node in graph.nodes])


def float_forward(graph: g.Graph, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """A captured network without quantisation; CQReLU is a clip."""

    def activate(node, z):
        return z.clamp(0, node.lam) if node.function == "relu" else function_of(node.function)(z)

    rules = {
        g.Input: lambda node: images,
        g.Conv: lambda node, x: node.compute(x) + node.bias.view(-1, 1, 1),
        g.BatchNorm: lambda node, x: x * node.scale.view(-1, 1, 1) + node.shift.view(-1, 1, 1),
        g.Activation: activate,
        g.Readout: lambda node, x: x,
    }
    return g.walk(graph, rules, lambda node, *inputs: node.compute(*inputs))


def assert_close(ours: dict, theirs: dict, tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=tolerance)


@torch.no_grad()
@pytest.mark.parametrize("function", ["relu", "silu", "leaky_relu(0.1)", "hardswish"])
def test_the_ann_is_the_float_network(function):
    graph, images = captured(function), small_images()
    network = Network(convert_graph(graph)[0])
    assert_close(forward_ann(network, images, 0), float_forward(graph, images), 1e-9)


@torch.no_grad()
@pytest.mark.parametrize("recommended", [{}, {"hysteresis": 0.25, "delay": 0.5}])
@pytest.mark.parametrize(("function", "burst", "ramp"), [("relu", 1, False), ("relu", 3, False), ("silu", 3, True)])
def test_the_plain_loop_is_the_network(function, burst, ramp, recommended):
    graph, images = replace(convert_graph(captured(function, 8))[0], defaults=recommended), small_images()
    network = Network(graph, SimulationSettings(burst=burst, ramp=ramp))
    for step in simulate(graph, images, engine="reference", burst=burst, ramp=ramp):
        if step.t in (2, 5) or step.quiescent.all():
            assert_close(run_plain(network, images, step.t), step.readout, 1e-9)


@torch.no_grad()
def test_the_plain_loop_of_a_yolo_is_the_network():
    model, images = live_yolo("yolov8n")
    graph = convert_graph(capture(model))[0]
    *_, last = simulate(graph, images, 9)
    assert_close(run_plain(Network(graph), images, 9), last.readout, 1e-9)


@torch.no_grad()
@pytest.mark.parametrize("function", ["relu", "silu"])
def test_8_bit_networks_are_near_the_float_network(function, tmp_path):
    for package in contenders.NEEDS["openvino"]:
        pytest.importorskip(package, reason="an optional contender of tools/bench_engine.py")
    images = small_images(6, 16).float()[..., :16]
    network = Network(to_integer(convert_graph(captured(function))[0]), int8=tmp_path)
    contenders.write_int8(network, images, tmp_path)
    assert all(0 < contenders.readout_error(what, network, images) < 0.1 for what in INT8)
    assert contenders.readout_error("ann", network, images) == 0


def test_what_cannot_be_run_is_said(monkeypatch):
    network, silu = Network(convert_graph(captured())[0]), Network(convert_graph(captured("silu"))[0])
    bursts = replace(network, settings=SimulationSettings(burst=2))
    odd = Network(convert_graph(captured("leaky_relu(0.1)"))[0])
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda package: package)
    assert [unfit(what, network) for what in CONTENDERS] == [None] * len(CONTENDERS)
    assert unfit("spikingjelly", silu) == "its neurons follow ReLU alone"
    assert unfit("spikingjelly", bursts) == "its neurons send one unit spike a step"
    assert unfit("openvino", odd) == "no ONNX form of leaky_relu(0.1) here"
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda package: None)
    assert unfit("onnxruntime", network) == "onnx, onnxruntime is not installed"
    assert unfit("plain", network) is unfit("ann", silu) is None


def test_the_step_of_99_percent_comes_from_runs_of_the_same_network(tmp_path):
    graph = to_integer(convert_graph(captured("silu", 8))[0])
    network = Network(graph, SimulationSettings(burst=4, ramp=True))
    rows = [("ann", None, 0.3), ("snn", 3, 0.2), ("snn", 5, 0.298), ("snn", 9, 0.29), ("snn", "auto", 0.3)]
    rows = [{"network": n, "timesteps": t, "mAP50-95": value} for n, t, value in rows]
    made = {"graph": fingerprint(graph), "imgsz": [320, 320], "hysteresis": 0.0, "delay": 0.0, "burst": 4, "ramp": True}
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "results.json").write_text(json.dumps({"settings": made, "rows": rows}))
    curves = {"T": [1, 2, 3], "mAP50-95": [0.1, 0.297, 0.3]}
    variant = {"severity": 0, "neuron": "cif", "schedule": "wsc", "hysteresis": 0.0, "delay": 0.0}
    cells = [
        {"variant": variant | changes, "made": {"graph": fingerprint(graph)}, "imgsz": [640, 640], "result": result}
        for result in ({"ann": {"mAP50-95": 0.3}, "curves": curves},)
        for changes in ({"burst": 4, "ramp": True}, {"burst": 1, "ramp": False}, {"neuron": "if"}, {"severity": 1})
    ]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "cells.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    found = [moment for name in ("val", "study") for moment in bench_engine.moments_of(tmp_path / name)]
    assert bench_engine.enough(found, network, 320) == (5, "val, 320 px")
    assert bench_engine.enough(found, network, 640) == (2, "study, 640 px")
    with pytest.raises(SystemExit, match="burst=2, ramp=True"):
        bench_engine.enough(found, replace(network, settings=SimulationSettings(burst=2, ramp=True)), 320)


def test_a_small_bench_is_measured_and_kept(tmp_path, monkeypatch):
    """In this process, not in one for each contender."""
    file, out = tmp_path / "net.safetensors", tmp_path / "bench.json"
    save_graph(small_detector("add", "max"), file)

    class Here:
        def __init__(self, options):
            self.options = options

        def __call__(self, job, size, batch, turn):
            network = bench_engine.load_network(job.weights, job.burst, self.options)
            return bench_engine.timed(job, network, torch.rand(batch, 3, size, size))

    monkeypatch.setattr(bench_engine, "Worker", Here)
    monkeypatch.setattr(bench_engine, "memory_of", lambda *job: 1.0)
    words = [f"weights={file}", "batch=1,2", "burst=1,3", "repeats=2", "threads=1", f"out={out}", "source=none"]
    bench_engine.main([*words, "imgsz=32", "timesteps=2,rest", "what=reference,plain"])
    bench_engine.main([*words, "imgsz=64", "timesteps=2", "what=reference", "memory=false"])
    content = json.loads(out.read_text())
    cells = content["cells"]
    assert {(cell["imgsz"], cell["batch"]) for cell in cells} == {(32, 1), (32, 2), (64, 1), (64, 2)}
    rests = [cell for cell in cells if cell.get("moment") == "rest"]
    assert {(cell["what"], cell["burst"]) for cell in rests} == {(w, b) for w in ("reference", "plain") for b in (1, 3)}
    assert all(len(cell["all_ms"]) == 2 and cell["ratio"] > 0 for cell in cells)
    assert {cell["imgsz"] for cell in cells if "peak_mb" in cell} == {32}
    assert len({cell["timesteps"] for cell in rests if (cell["burst"], cell["batch"]) == (3, 1)}) == 1
