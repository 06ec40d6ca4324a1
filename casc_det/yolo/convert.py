"""`convert`: from a trained network or its file to a spiking graph that can be saved."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics.nn.tasks import DetectionModel

from casc_det import __version__
from casc_det import graph as g
from casc_det.base.arguments import check_one_of, is_integer, shown
from casc_det.base.files import hash_of
from casc_det.base.threads import computing
from casc_det.conversion.audit import AuditRow
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, WeightsError
from casc_det.graph.fields import LARGEST_SIDE
from casc_det.graph.file import load_graph, save_graph
from casc_det.graph.zoo import find
from casc_det.yolo.calibrate import calibrate
from casc_det.yolo.calibration import Calibration, calibration_of, read_float, read_images
from casc_det.yolo.capture import capture
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.convertible import check_convertible
from casc_det.yolo.fidelity import Fidelity
from casc_det.yolo.images import check_imgsz
from casc_det.yolo.install import REPLACED, cq_sites, install_cq
from casc_det.yolo.trace import trace
from casc_det.yolo.weights import is_spiking

KEPT = ("levels", "imgsz", "epochs", "batch", "optimizer", "lr0", "seed", "progressive")  # of how it was trained
PRECISIONS = ("integer", "float")
BURST = 8  # recommended for networks that follow other functions than ReLU, with the ramp rule; half of Q at most
Progress = Callable[[int, int, str], None]


class Conversion(NamedTuple):
    """graph: the spiking detector. audit: how each op of the network was carried over.

    report: of a calibration, how near the result is to the float network, see `casc_det.yolo.fidelity`; JSON values.
    """

    graph: g.SpikingGraph
    audit: list[AuditRow]
    report: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Conversion({self.graph!r}, audit of {len(self.audit)} ops)"

    def save(self, path: str | Path) -> Path:
        """Write the graph to a `.safetensors` file, other names are refused; its path. Raises: see `save_graph`."""
        return save_graph(self.graph, path)


def convert(
    model: Any,
    imgsz: int | None = None,
    precision: str = "integer",
    trust: bool = False,
    progress: Progress = lambda done, total, text: None,
    **calibration: Any,
) -> Conversion:
    """Convert a CQ detector into a spiking one, or a float detector without training; the model is left unchanged.

    Args:
        model: an Ultralytics `DetectionModel` or `YOLO`, or the path of a `.pt` checkpoint or of a `.safetensors` state
            dict; or, to make an integer graph of it, a real-valued spiking graph (`.safetensors`).
        imgsz: longest image side the graph is meant for; default: what the network was trained with, or 640.
        precision: "integer": weights rounded to 8 bits, and from there on everything exact on every CPU; "float":
            the network's own weights, exact up to the rounding of sums.
        trust: unpickle a `.pt` file fully, which runs any code that is in it. Needed only where it holds more than
            layers of torch, Ultralytics and casc_det.
        progress: of a calibration, called with (images done, of all, text).
        calibration: for a float network, the fields of `casc_det.yolo.calibration.Calibration` by name:
            `convert("yolov8n.pt", data="images/", levels=32)`.

    Raises:
        ArgumentError: an argument cannot work. SourceError: there are no images.
        ConversionError, AuditError: an op has no spiking counterpart, or there is no CQ and no calibration.
        WeightsError: the file cannot be read.
    """
    check_one_of(PRECISIONS, precision=precision)
    if imgsz is not None and not is_integer(imgsz, 32, LARGEST_SIDE):
        raise ArgumentError(f"imgsz: expected an integer from 32 to {LARGEST_SIDE}, got {shown(imgsz)}")
    ask, source = calibration_of(calibration), dict[str, Any]()
    if isinstance(model, str | Path):
        path = find(model)
        if path.suffix == ".safetensors" and (ask is None or is_spiking(path)):
            return _rounded(path, imgsz, precision, ask)
        model = _read(path, ask, trust)
        source = {"source": path.name, "source_sha256": hash_of([path.read_bytes()])}
    model = getattr(model, "model", model) if type(model).__name__ == "YOLO" else model
    trained = getattr(model, "args", None) or {}
    trained = dict(trained) if isinstance(trained, dict) else dict(vars(trained))
    architecture = str(getattr(model, "yaml", {}).get("yaml_file", type(model).__name__))
    meta = {"casc_det": __version__, "method": "CASC, arXiv 2406.05371", **source, "architecture": architecture}
    meta |= {"training": {key: trained[key] for key in KEPT if trained.get(key) is not None}}
    size = imgsz or trained.get("imgsz") or 640
    size = size if isinstance(size, int) else max(size)
    if ask is not None:
        return _calibrated(model, ask, size, precision, meta, progress)
    replaceable = isinstance(model, DetectionModel) and any(type(m) in REPLACED for m in model.modules())
    if replaceable and not cq_sites(model):  # "calibrate it" is said only where that would not be refused
        check_convertible(model, architecture)
    return Conversion(*_graph(model, size, precision, meta))


def _read(path: Path, ask: Calibration | None, trust: bool) -> DetectionModel:
    """The network of a file: a CQ network, or a float network to calibrate."""
    if path.suffix not in (".pt", ".safetensors"):
        raise WeightsError(f"weights: expected a .pt checkpoint or a .safetensors file, got '{path}'")
    return read_checkpoint(path, trust) if ask is None else read_float(path, ask, trust)


def _graph(
    model: DetectionModel, size: int, precision: str, meta: dict[str, Any]
) -> tuple[g.SpikingGraph, list[AuditRow]]:
    """The spiking graph of a CQ network, and the audit."""
    graph = capture(model, size)
    spiking, rows = convert_graph(replace(graph, meta=graph.meta | meta))
    if spiking.functions != ["relu"]:
        spiking = replace(spiking, defaults={"burst": max(min(BURST, spiking.levels // 2), 1), "ramp": True})
    return to_integer(spiking) if precision == "integer" else spiking, rows


def _calibrated(
    model: DetectionModel, ask: Calibration, size: int, precision: str, meta: dict[str, Any], progress: Progress
) -> Conversion:
    """The conversion of a float network without training."""
    if not isinstance(model, DetectionModel):
        trace(model)  # says what it is
    if cq_sites(model):
        raise ArgumentError("data: the network has CQ activations, which were trained; leave data= and levels= out")
    model = copy.deepcopy(model).float().eval()
    install_cq(model, ask.levels, ask.activation)
    check_convertible(model, meta["architecture"])
    stride = int(model.stride.max())
    images, held_out = read_images(ask, check_imgsz(size, stride), stride)
    total = len(images) + len(held_out)
    with computing("auto"):
        for done in calibrate(model, images, ask.seed):
            progress(done, total, "calibration")
        graph, rows = _graph(model, size, precision, meta)
        fidelity = Fidelity(graph, model)
        for done, image in enumerate(held_out, len(images) + 1):
            fidelity.add(image)
            progress(done, total, "comparison")
    asked = {"levels": ask.levels, "activation": ask.activation, "images": len(images), "seed": ask.seed}
    report = asked | {"held_out": len(held_out)} | fidelity.report()
    return Conversion(replace(graph, meta=graph.meta | {"calibration": report}), rows, report)


def _rounded(path: Path, imgsz: int | None, precision: str, ask: Calibration | None) -> Conversion:
    """The integer graph of a file with a real-valued one."""
    if ask is not None:
        raise ArgumentError(f"data: '{path}' is a spiking graph already; leave data= and levels= out")
    if precision == "float":
        raise ArgumentError(f"precision: '{path}' is a spiking graph already; precision=integer rounds it")
    graph = load_graph(path, torch.float64)
    if graph.integer:
        raise ArgumentError(f"weights: '{path}' is an integer graph already; there is nothing to convert")
    return Conversion(to_integer(replace(graph, imgsz=imgsz or graph.imgsz)), [])
