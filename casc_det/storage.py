"""One file for a spiking graph: safetensors with the graph as JSON in its metadata. No pickle, no Ultralytics.

Metadata key `casc_det` holds `{"format", "version", "nodes": [{"type", "name", "inputs", settings...}], "names",
"strides", "reg_max", "imgsz", "levels", "integer", "meta"}`; the tensor `<node>.<field>` belongs to that node: float32,
or in an integer graph int8 weights, int32 biases and thresholds, and float32 scales.
"""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from casc_det import graph as g
from casc_det.errors import ConversionError, WeightsError
from casc_det.files import write_bytes

FORMAT, VERSION, KEY = "casc_det.spiking_graph", 2, "casc_det"  # version 1 had no integer graphs


def save_graph(graph: g.SpikingGraph, path: str | Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a spiking graph; the file appears whole or not at all. `dtype` is that of its real-valued tensors."""
    kinds = {"weight": torch.int8, "bias": torch.int32, "theta": torch.int32} if graph.integer else {}
    described = [
        {"type": type(node).__name__, "name": node.name, "inputs": list(node.inputs), **g.settings(node)}
        for node in graph.nodes
    ]
    header = {"format": FORMAT, "version": VERSION, "nodes": described}
    header |= {f.name: getattr(graph, f.name) for f in dataclasses.fields(graph) if f.name != "nodes"}
    values = {
        f"{node.name}.{key}": value.to(kinds.get(key, dtype), copy=True).contiguous()
        for node in graph.nodes
        for key, value in g.tensors(node).items()
    }
    try:
        return write_bytes(path, save(values, {KEY: json.dumps(header)}))
    except OSError as error:
        raise WeightsError(f"out: '{path}' cannot be written ({error.strerror or error})") from error


def load_graph(
    path: str | Path, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> g.SpikingGraph:
    """Read a spiking graph in the given dtype; default: float32, which holds an integer graph exactly.

    Raises:
        WeightsError: the file is missing, damaged, no safetensors file, of a newer version, or a plain network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"weights: '{path}' does not exist (nothing is downloaded); make a spiking graph with: "
            "casc-det convert weights=best.pt out=model.safetensors"
        )
    if path.suffix in (".pt", ".pth", ".onnx"):
        raise WeightsError(
            f"weights: '{path}' is no spiking graph but a '{path.suffix}' network; train with CQReLU (casc-det train), "
            "then: casc-det convert weights=best.pt out=model.safetensors"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights: '{path}' is damaged or no safetensors file ({error})") from error
    if KEY not in metadata:
        raise WeightsError(
            f"weights: '{path}' holds tensors but no spiking graph; it may be a float state dict: use it as weights= "
            "of casc-det train"
        )
    return _parse(path, metadata[KEY], values, dtype or torch.float32, device)


def _parse(path, text, values, dtype, device) -> g.SpikingGraph:
    try:
        header = json.loads(text)
        if header.pop("format") != FORMAT or header.pop("version") not in (1, VERSION):
            raise WeightsError(
                f"weights: '{path}' has another format version than {VERSION}; update casc_det or convert again"
            )
        nodes = []
        for entry in header.pop("nodes"):
            kind = g.NODE_TYPES[entry.pop("type")]
            name, inputs = entry.pop("name"), tuple(entry.pop("inputs"))
            arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
            for field in dataclasses.fields(kind):
                if f"{name}.{field.name}" in values:
                    arguments[field.name] = values[f"{name}.{field.name}"].to(device, dtype)
            if kind is g.Conv and not {"weight", "bias"} <= arguments.keys():
                raise WeightsError(f"weights: '{path}' lacks tensors of node '{name}'; it is damaged, convert again")
            nodes.append(kind(name, inputs, **arguments))
        return g.SpikingGraph(nodes, **header)
    except (KeyError, TypeError, ValueError, AttributeError, ConversionError) as error:
        raise WeightsError(f"weights: the graph in '{path}' is damaged ({error}); convert again") from error
