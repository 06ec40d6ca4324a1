"""One file for a spiking graph: safetensors with the graph as JSON in its metadata. No pickle, no Ultralytics.

Metadata key `casc_det` holds `{"format", "version", "nodes": [{"type", "name", "inputs", settings...}], "names",
"strides", "reg_max", "imgsz", "levels", "integer", "defaults", "meta"}`; the tensor `<node>.<field>` belongs to that
node: floats of one kind, or in an integer graph int8 weights, int32 biases, thresholds and counts, and float32 scales.
Version 4 brought functions with their tables and the recommended settings (`defaults`). From version 3 on key
`casc_det_sha256` is the hash of that JSON and of all tensors.

A file is looked at in this order: its size against its header, the JSON, the graph without the values of its tensors
(`casc_det.graph.validate`), and only then the tensors are read, their hash compared and their values looked at.
"""

import contextlib
import dataclasses
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from casc_det import graph as g
from casc_det.base.arguments import check_safetensors, shown
from casc_det.base.files import hash_of, write_bytes
from casc_det.errors import ArgumentError, ConversionError, WeightsError, one_line
from casc_det.graph.validate import check_structure, check_values, validate

FORMAT, VERSION, KEY = "casc_det.spiking_graph", 4, "casc_det"  # 1 had no integer graphs, 2 no checksum, 3 no tables
CHECKSUM = "casc_det_sha256"
OTHERS = (".pt", ".pth", ".onnx")  # networks that are no spiking graphs
FLOAT = "(and data=images/ levels=32 for a float network)"
LONGEST_HEADER = 2**25  # bytes of the safetensors header, which holds the JSON
INTEGERS = {"weight": torch.int8, "scale": torch.float32}
INTEGERS |= dict.fromkeys(("bias", "theta", "thresholds", "counts"), torch.int32)
INTEGER_KINDS = {
    key: {torch.int8: "I8", torch.int32: "I32", torch.float32: "F32"}[kind] for key, kind in INTEGERS.items()
}
ABSENT = {1: ("lam", "function"), 2: ("function",), 3: ("function",)}  # fields that files of a version lack
FLOAT_KINDS = ("F16", "BF16", "F32", "F64")
LATER = {"function": "relu", "thresholds": None, "counts": None}  # do not change the fingerprint of older graphs
SETTINGS = ("names", "strides", "reg_max", "imgsz", "levels")  # of every version


def save_graph(graph: g.SpikingGraph, path: str | Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a spiking graph; the file appears whole or not at all. `dtype` is that of its real-valued tensors.

    Raises:
        ArgumentError: the path does not end in .safetensors.
        ConversionError: the graph is no detector that can be simulated, see `casc_det.graph.validate`.
        OutputError: the file cannot be written.
    """
    check_safetensors(path=path)
    validate(graph)
    kinds = INTEGERS if graph.integer else {}
    described = [
        {"type": type(node).__name__, "name": node.name, "inputs": list(node.inputs), **g.settings(node)}
        for node in graph.nodes
    ]
    header = {"format": FORMAT, "version": VERSION, "nodes": described}
    header |= {f.name: getattr(graph, f.name) for f in dataclasses.fields(graph) if f.name != "nodes"}
    values = {
        f"{node.name}.{key}": value.to("cpu", kinds.get(key, dtype), copy=True).contiguous()
        for node in graph.nodes
        for key, value in g.tensors(node).items()
    }
    if not graph.integer and (lost := [key for key, value in values.items() if not bool(value.isfinite().all())]):
        raise ConversionError(f"out: values of '{lost[0]}' do not fit into {dtype}; save in a wider dtype")
    text = json.dumps(header, allow_nan=False)
    return write_bytes(path, save(values, {KEY: text, CHECKSUM: checksum(text, values)}))


def checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the JSON of a file and of its tensors as they are stored: names, types, shapes and bytes."""
    return hash_of([text, *(part for key, value in sorted(tensors.items()) for part in (f"{key} ", *hashed(value)))])


def fingerprint(graph: g.SpikingGraph) -> str:
    """SHA-256 of everything in a graph that its answers depend on; of its values, whatever dtype holds them."""
    parts: list[str | bytes] = [repr((graph.names, graph.strides, graph.reg_max, graph.levels, graph.integer))]
    for node in graph.nodes:
        parts.append(f"{type(node).__name__} {node.name} {node.inputs}")
        for name, value in vars(node).items():
            if name in LATER and value == LATER[name]:
                continue
            parts += hashed(value.double()) if isinstance(value, torch.Tensor) else [repr(value)]
    return hash_of(parts)


def hashed(value: torch.Tensor) -> tuple[str, bytes]:
    """What is hashed of a tensor: dtype, shape and bytes."""
    flat = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return f"{value.dtype} {tuple(value.shape)}", flat.numpy().tobytes()


def load_graph(
    path: str | Path, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> g.SpikingGraph:
    """Read a spiking graph in the given dtype; default: float32, which holds an integer graph exactly.

    Raises:
        WeightsError: the file is missing, damaged, no safetensors file, of a newer version, or a plain network.
    """
    path = Path(path)
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise WeightsError(f"weights: '{path}' is no file; give a .safetensors file")
        raise WeightsError(
            f"weights: '{path}' does not exist (nothing is downloaded); make a spiking graph with: "
            f"casc-det convert weights=best.pt out=model.safetensors {FLOAT}; or give a name that casc-det models lists"
        )
    if path.suffix in OTHERS:
        name = shlex.quote(str(path)) if path.suffix == ".pt" else "best.pt"
        raise WeightsError(
            f"weights: '{path}' is no spiking graph but a '{path.suffix}' network; make one"
            f"{'' if path.suffix == '.pt' else ' of its .pt file'} with: "
            f"casc-det convert weights={name} out=model.safetensors {FLOAT}"
        )
    with opened(path) as file:
        metadata = file.metadata() or {}
        if KEY not in metadata:
            raise WeightsError(
                f"weights: '{path}' holds tensors but no spiking graph; it may be a float state dict: use it as "
                "weights= of casc-det train, or of casc-det convert with data=images/ levels=32"
            )
        try:
            graph = read_structure(file)
            check_structure(graph)
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if CHECKSUM in metadata and checksum(metadata[KEY], values) != metadata[CHECKSUM]:
                raise ConversionError("its checksum does not fit its content")
            stored = lambda node: {key: values[f"{node.name}.{key}"] for key in g.tensors(node)}
            graph = dataclasses.replace(graph, nodes=[g.with_tensors(node, stored(node)) for node in graph.nodes])
            check_values(graph)
        except ConversionError as error:
            raise WeightsError(f"weights: the graph in '{path}' is damaged ({error}); convert again") from error
    if graph.integer and dtype not in (None, torch.float32, torch.float64):
        raise ArgumentError(f"dtype: an integer graph needs float32 or float64, got {dtype}")
    return g.moved(graph, dtype or torch.float32, device)


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[safe_open]:
    """A safetensors file, whose header is of a size that it can have; WeightsError where it is damaged."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise WeightsError(f"weights: '{path}' is no file")
    try:
        with Path(path).open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            if length > LONGEST_HEADER:
                raise WeightsError(f"weights: '{path}' is no safetensors file (it does not begin as one), or damaged")
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights: '{path}' is damaged or no safetensors file ({one_line(error, 200)})") from error


def read_header(file: safe_open) -> dict:
    """The JSON of an open file's graph, of a version that is known; ConversionError where it is damaged."""
    metadata = file.metadata() or {}
    try:
        header = json.loads(metadata[KEY], object_pairs_hook=_unique, parse_constant=_no_number)
    except (KeyError, ValueError, RecursionError) as error:
        raise ConversionError(f"its description is no JSON: {shown(str(error))}") from error
    if (
        not isinstance(header, dict)
        or header.get("format") != FORMAT
        or header.get("version") not in range(1, VERSION + 1)
    ):
        raise ConversionError(f"it has another format version than {VERSION}; update casc_det")
    if (header["version"] >= 3) != (CHECKSUM in metadata):
        raise ConversionError("its version and its checksum do not fit together")
    return header


def _unique(pairs: list[tuple]) -> dict:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key is given twice")
    return result


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def read_structure(file: safe_open) -> g.SpikingGraph:
    """The graph of an open file, its tensors without values; ConversionError where it is damaged."""
    header = read_header(file)
    known = {f.name for f in dataclasses.fields(g.SpikingGraph)} | {"format", "version"}
    _check_keys("its description", header, known, {"nodes", *SETTINGS})
    if type(header["nodes"]) is not list or not all(type(entry) is dict for entry in header["nodes"]):
        raise ConversionError("its nodes are no list of objects")
    slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
    stored = {key: (part.get_dtype(), part.get_shape()) for key, part in slices.items()}
    _check_kinds(stored, header.get("integer", False) is True)
    nodes = [_read_node(entry, stored, header["version"]) for entry in header["nodes"]]
    if stored:
        raise ConversionError(f"tensor {shown(next(iter(stored)))} belongs to no node")
    rest = {key: value for key, value in header.items() if key not in ("format", "version", "nodes")}
    return g.SpikingGraph(nodes, **rest)


def _check_keys(owner: str, found: dict, known: set[str], needed: set[str]) -> None:
    for key in found.keys() - known:
        raise ConversionError(f"{owner} has the unknown key {shown(key)}")
    for key in sorted(needed - found.keys()):
        raise ConversionError(f"{owner} lacks '{key}'")


def _check_kinds(stored: dict, integer: bool) -> None:
    """Raise ConversionError where a tensor is not stored as the format has it."""
    kinds = {kind for kind, _ in stored.values()}
    if not integer and (len(kinds) != 1 or not kinds <= {*FLOAT_KINDS}):
        raise ConversionError(f"its tensors are stored as {shown(sorted(kinds))}, expected floats of one kind")
    for key, (kind, _) in stored.items() if integer else ():
        expected = INTEGER_KINDS.get(key.rpartition(".")[2])
        if kind != expected:
            raise ConversionError(f"tensor {shown(key)} is stored as {kind}, expected {expected or 'none'}")


def _read_node(entry: dict, stored: dict, version: int) -> g.Node:
    """One node; its tensors are taken out of `stored` and get a shape without values."""
    kind = g.NODE_TYPES.get(entry["type"]) if isinstance(entry.get("type"), str) else None
    if kind is None:
        raise ConversionError(f"a node is of the unknown type {shown(entry.get('type'))}")
    fields = dataclasses.fields(kind)
    owner = f"node {shown(entry.get('name'))} ({kind.__name__})"
    # what may be a tensor or none is not written then
    optional = {f.name for f in fields if f.default is None or f.name in ("theta", *ABSENT.get(version, ()))}
    _check_keys(owner, entry, {"type", *(f.name for f in fields)}, {f.name for f in fields} - optional)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items() if key != "type"}
    for f in fields:
        key = f"{entry['name']}.{f.name}"
        if key in stored:
            if f.name in entry:
                raise ConversionError(f"{owner} has {f.name} twice")
            values[f.name] = torch.empty(stored.pop(key)[1], device="meta")
    return kind(**values)
