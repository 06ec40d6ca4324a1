"""`convert`: from a trained network or its file to a spiking graph that can be saved."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ultralytics.nn.tasks import DetectionModel

from casc_det import __version__
from casc_det import graph as g
from casc_det.base.arguments import is_integer, shown
from casc_det.base.files import hash_of
from casc_det.conversion.audit import AuditRow
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, WeightsError
from casc_det.graph.fields import LARGEST_SIDE
from casc_det.graph.file import load_graph, save_graph
from casc_det.graph.zoo import find
from casc_det.yolo.capture import capture
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.convertible import check_convertible
from casc_det.yolo.install import REPLACED, cqrelu_sites

KEPT = ("levels", "imgsz", "epochs", "batch", "optimizer", "lr0", "seed", "progressive")  # of how it was trained


class Conversion(NamedTuple):
    """graph: the spiking detector. audit: how each op of the network was carried over."""

    graph: g.SpikingGraph
    audit: list[AuditRow]

    def __repr__(self) -> str:
        return f"Conversion({self.graph!r}, audit of {len(self.audit)} ops)"

    def save(self, path: str | Path) -> Path:
        """Write the graph to a `.safetensors` file, other names are refused; its path. Raises: see `save_graph`."""
        return save_graph(self.graph, path)


def convert(model: Any, imgsz: int | None = None, precision: str = "integer", trust: bool = False) -> Conversion:
    """Convert a CQReLU detector into a spiking one; the model is left unchanged.

    Args:
        model: an Ultralytics `DetectionModel` or `YOLO`, or the path of a `.pt` checkpoint; or, to make an integer
            graph of it, a real-valued spiking graph (`.safetensors`).
        imgsz: longest image side the graph is meant for; default: what the network was trained with, or 640.
        precision: "integer": weights rounded to 8 bits, and from there on everything exact on every CPU; "float":
            the network's own weights, exact up to the rounding of sums.
        trust: unpickle a `.pt` file fully, which runs any code that is in it. Needed only where it holds more than
            layers of torch, Ultralytics and casc_det.

    Raises:
        ConversionError, AuditError: an op has no spiking counterpart, or there is no CQReLU.
        WeightsError: the file cannot be read.
    """
    if precision not in ("integer", "float"):
        raise ArgumentError(f"precision: expected integer or float, got {precision!r}")
    if imgsz is not None and not is_integer(imgsz, 32, LARGEST_SIDE):
        raise ArgumentError(f"imgsz: expected an integer from 32 to {LARGEST_SIDE}, got {shown(imgsz)}")
    meta: dict[str, Any] = {"casc_det": __version__, "method": "CASC, arXiv 2406.05371"}
    if isinstance(model, str | Path):
        path = find(model)
        if path.suffix == ".safetensors":
            return _rounded(path, imgsz, precision)
        if path.suffix != ".pt":
            raise WeightsError(f"weights: expected a .pt checkpoint of casc-det train or a spiking graph, got '{path}'")
        model = read_checkpoint(path, trust)
        meta |= {"source": path.name, "source_sha256": hash_of([path.read_bytes()])}
    model = getattr(model, "model", model) if type(model).__name__ == "YOLO" else model
    trained = getattr(model, "args", None) or {}
    trained = dict(trained) if isinstance(trained, dict) else dict(vars(trained))
    meta["training"] = {key: trained[key] for key in KEPT if trained.get(key) is not None}
    meta["architecture"] = str(getattr(model, "yaml", {}).get("yaml_file", type(model).__name__))
    replaceable = isinstance(model, DetectionModel) and any(isinstance(m, REPLACED) for m in model.modules())
    if replaceable and not cqrelu_sites(model):  # "train it first" is said only where training does not refuse it
        check_convertible(model, meta["architecture"])
    size = imgsz or trained.get("imgsz") or 640
    graph = capture(model, size if isinstance(size, int) else max(size))
    spiking, audit = convert_graph(replace(graph, meta=graph.meta | meta))
    return Conversion(to_integer(spiking) if precision == "integer" else spiking, audit)


def _rounded(path: Path, imgsz: int | None, precision: str) -> Conversion:
    """The integer graph of a file with a real-valued one."""
    if precision == "float":
        raise ArgumentError(f"precision: '{path}' is a spiking graph already; precision=integer rounds it")
    graph = load_graph(path, torch.float64)
    if graph.integer:
        raise ArgumentError(f"weights: '{path}' is an integer graph already; there is nothing to convert")
    return Conversion(to_integer(replace(graph, imgsz=imgsz or graph.imgsz)), [])
