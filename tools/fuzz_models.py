"""Spiking graph files for `fuzz.py`: small valid detectors of any functions whose JSON, tensors or bytes are changed.

Most cases carry a checksum made anew, so that the change gets behind it; some are other sound detectors, unchanged.
Each is simulated with a burst, ramp rule, hysteresis and delay of its own.
"""

import json
import math
import random
import struct
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from casc_det import graph as g
from casc_det.api import SpikingYOLO
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.graph.file import CHECKSUM, KEY, checksum, save_graph
from casc_det.heads.detect.decode import decode_maps
from casc_det.simulation import PLAIN, SimulationSettings, Step, simulate
from casc_det.simulation.twin import ann_forward

FUNCTIONS = ("relu", "silu", "leaky_relu(0.1)", "hardswish", "gelu", "mish", "relu6", "hardtanh(-1,1)", "identity")
BLOCKS = ("add", "split", "groups", "norm", "max", "pyramid", "pad", "avg", "sigmoid")
DEEP = "[" * 3000 + "]" * 3000
ODD = (
    None, True, False, -1, 0, 1, 2, 3, 4, 5, 8, 16, 63, 64, 65, 255, 2**31, 2**63, 10**400, 0.5, -0.0, 1.0, 1e-30, 1e30,
    1e308, math.nan, math.inf, "", "x", "1", "Conv", "boxes0", "\ud800", "a\nb\x1b[31m", "n" * 5000, [], {}, [1, 1],
    [2, 2], [0, 0], [64, 64], [1, 1, 1, 1], [1.0, 1], [True, 1], [[1, 1]], {"a": 1}, ["image"], [None],
)  # fmt: skip


class _Builder:
    """Grows a captured graph node by node."""

    def __init__(self, levels: int, chance: random.Random, functions: tuple[str, ...]):
        self.levels, self.chance, self.functions = levels, chance, functions
        self.random = torch.Generator().manual_seed(chance.getrandbits(32))
        self.nodes: list[g.Node] = [g.Input("image", ())]
        self.channels = {"image": 3}

    def emit(self, kind, *inputs, out=None, **fields) -> str:
        node = kind(f"{kind.__name__.lower()}{len(self.nodes)}", inputs, **fields)
        self.nodes.append(node)
        self.channels[node.name] = out or self.channels[inputs[0]]
        return node.name

    def conv(self, x: str, out: int, kernel: int = 3, **fields) -> str:
        inner = self.channels[x] // fields.get("groups", 1)
        normal = lambda *shape: torch.randn(shape, generator=self.random, dtype=torch.float64)
        weight = 1.4 * normal(out, inner, kernel, kernel) / math.sqrt(inner * kernel * kernel)
        fields.setdefault("padding", (kernel // 2, kernel // 2))
        return self.emit(g.Conv, x, out=out, weight=weight, bias=0.3 * normal(out), **fields)

    def fire(self, x: str, lam: float | None = None) -> str:
        lam = lam or self.chance.uniform(0.8, 2.5)
        function = self.chance.choice(self.functions) if len(self.functions) > 1 else self.functions[0]
        return self.emit(g.Activation, x, lam=lam, levels=self.levels, function=function)

    def block(self, x: str, op: str) -> str:
        """A block that keeps the size of the map; it begins and ends with 8 channels."""
        pool = lambda x, side: self.emit(
            g.MaxPool, x, kernel=(side, side), stride=(1, 1), padding=(side // 2, side // 2)
        )
        match op:
            case "add":
                first = self.fire(self.conv(x, 8), 1.5)
                return self.emit(g.Add, first, self.fire(self.conv(first, 8), 1.5))
            case "split":
                halves = [self.emit(g.Slice, x, start=i, stop=i + 4, out=4) for i in (0, 4)]
                x = self.emit(g.Concat, *halves, self.fire(self.conv(halves[1], 4)), out=12)
            case "groups":
                x = self.conv(x, 8, groups=4, dilation=(2, 2), padding=(2, 2))
            case "norm":
                scale, shift = torch.linspace(0.5, 1.5, 8).double(), torch.linspace(-0.3, 0.3, 8).double()
                return self.fire(self.emit(g.BatchNorm, self.conv(x, 8), scale=scale, shift=shift))
            case "max":
                return pool(x, 3)
            case "pyramid":
                pools = [x, pool(x, 5)]
                x = self.emit(g.Concat, *pools, pool(pools[1], 5), out=24)
            case "pad":
                return self.emit(g.MaxPool, self.emit(g.ZeroPad, x, padding=(0, 1, 0, 1)), stride=(1, 1))
            case "avg":
                x = self.emit(g.AvgPool, x, kernel=(3, 3), stride=(1, 1), padding=(1, 1))
            case "sigmoid":
                x = self.emit(g.Pointwise, x, function="sigmoid")
        return self.fire(self.conv(x, 8) if self.channels[x] != 8 or op != "groups" else x)


def small_detector(
    *blocks: str, levels: int = 4, seed: int = 0, integer: bool = True, functions: tuple[str, ...] = ("relu",)
) -> g.SpikingGraph:
    """A live detector with random weights, two levels of strides 4 and 8, three classes and four bins.

    blocks: of `BLOCKS`, in turn; "sigmoid" only with `integer=False`. functions: each layer follows one of them.
    """
    chance = random.Random(seed)
    b = _Builder(levels, chance, functions)
    x = b.fire(b.conv(b.fire(b.conv("image", 8, stride=(2, 2))), 8, stride=(2, 2)))
    for op in blocks:
        x = b.block(x, op)
    low = b.fire(b.conv(x, 8, stride=(2, 2)))
    x = b.fire(b.conv(b.emit(g.Concat, b.emit(g.Upsample, low), x, out=16), 8, 1))
    for level, source in enumerate((x, low)):
        for kind, count in (("boxes", 16), ("scores", 3)):
            b.nodes.append(g.Readout(f"{kind}{level}", (b.conv(b.fire(b.conv(source, 8)), count, 1),), kind, level))
    graph = convert_graph(g.Graph(b.nodes, ["cat", "dog", "hare"], [4, 8], 4, 64, {"seed": seed}))[0]
    return to_integer(graph) if integer else graph


class Kind:
    """Cases of mutated model files; see `fuzz.py`."""

    def __init__(self, folder: Path):
        self.base = []
        for i, levels in enumerate((4, 1, 8, 3, 16, 4, 8, 5, 32)):
            integer = i % 3 != 2
            blocks = BLOCKS[:8] if i in (0, 6) else random.Random(i).sample(BLOCKS[: 8 if integer else 9], 3)
            path = folder / f"{i}.safetensors"
            if not path.exists():
                functions = FUNCTIONS if i >= 6 else ("relu",)
                graph = small_detector(*blocks, levels=levels, seed=i, integer=integer, functions=functions)
                save_graph(replace(graph, defaults={"burst": 2, "ramp": True}) if i >= 6 else graph, path)
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                self.base.append((path.read_bytes(), file.metadata(), tensors))
            graph = SpikingYOLO(path).graph  # the loops are compiled before the clock runs
            compare(graph, torch.full((1, 3, 32, 32), 0.5, dtype=graph.dtype), True)

    def make(self, chance: random.Random, folder: Path) -> str:
        if chance.random() < 0.2:
            return other_detector(chance, folder / "model.safetensors")
        raw, metadata, tensors = chance.choice(self.base)
        if chance.random() < 0.2:
            content, done = change_bytes(raw, chance)
        else:
            metadata, tensors, done = dict(metadata), dict(tensors), []
            header = json.loads(metadata[KEY])
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                change = change_header if chance.random() < 0.65 else change_tensors
                done.append(change(header if change is change_header else tensors, chance))
            metadata[KEY] = json.dumps(header)
            if chance.random() < 0.03:
                metadata[KEY] = metadata[KEY].replace('"meta": {', f'"meta": {{"deep": {DEEP}, ', 1)
            metadata[CHECKSUM] = checksum(metadata[KEY], tensors)
            if chance.random() < 0.05:
                done.append(change_metadata(metadata, chance))
            content = save(tensors, metadata)
        (folder / "model.safetensors").write_bytes(content)
        return "; ".join(done) if isinstance(done, list) else done

    def run(self, chance: random.Random, folder: Path) -> tuple[str, str]:
        model = SpikingYOLO(folder / "model.safetensors")
        stride = max(model.graph.strides)
        side = stride * max(1, chance.choice((32, 48, 64)) // stride)
        images = torch.randint(0, 256, (1, 3, side, side)).to(model.dtype) / 255
        return compare(model.graph, images, chance.random() < 0.25, chosen_settings(chance, model.graph.levels))


def other_detector(chance: random.Random, path: Path) -> str:
    """Write another sound detector; what it is."""
    integer, levels = chance.random() < 0.8, chance.choice((1, 2, 3, 4, 5, 8, 13, 16, 31, 32, 64))
    blocks = chance.choices(BLOCKS[: 8 if integer else 9], k=chance.randrange(1, 5))
    functions = tuple(chance.choices(FUNCTIONS, k=chance.choice((1, 2, 4))))
    seed = chance.getrandbits(31)
    graph = small_detector(*blocks, levels=levels, seed=seed, integer=integer, functions=functions)
    save_graph(replace(graph, defaults=chance.choice(({}, {"burst": chance.randint(1, levels), "ramp": True}))), path)
    kind = "integer" if integer else "real-valued"
    return f"sound: {kind}, {levels} levels, {' '.join(blocks)}, {' '.join(functions)}, seed {seed}"


def chosen_settings(chance: random.Random, levels: int) -> SimulationSettings:
    """A burst, the ramp rule, and rarely hysteresis and delay; None: what the file recommends."""
    burst = chance.choice((None, 1, levels, chance.randint(1, levels)))
    rare = lambda *values: chance.choice(values) if chance.random() < 0.2 else None
    return SimulationSettings(
        burst=burst, ramp=chance.choice((None, False, True)), hysteresis=rare(0.25, 1), delay=rare(0.5, 2)
    )


def compare(
    graph: g.SpikingGraph, images: torch.Tensor, both: bool, settings: SimulationSettings = PLAIN
) -> tuple[str, str]:
    """Outcome and reason: the network at rest against its ANN twin, and where `both` against the other engine."""
    twin = ann_forward(graph, images)
    steps = list(simulate(graph, images, settings=settings))
    last, tolerance = steps[-1], 0.0 if graph.integer else 1e-6
    if not bool(last.quiescent.all()):
        return "inexact", f"not at rest after {last.t} steps, {settings}"
    for name, counts in twin.counts.items():
        if not torch.equal(last.counts[name], counts):
            return "inexact", f"counts of '{name}', {settings}"
    for name, value in twin.readout.items():
        if not torch.allclose(last.readout[name], value, rtol=tolerance, atol=tolerance):
            return "inexact", f"readout '{name}', {settings}"
    if not all(bool(x.float().isfinite().all()) for x in decode_maps(twin.readout, graph.strides, graph.reg_max)):
        return "nan", "boxes"
    if both and (
        found := unequal(steps, list(simulate(graph, images, settings=replace(settings, engine="reference"))))
    ):
        return "inexact", f"engines {found}, {settings}"
    return "answered", f"{last.t} steps, {int(sum(step.fired.sum() for step in steps))} spikes"


def unequal(steps: list[Step], others: list[Step]) -> str | None:
    """Where two engines differ: on an integer graph in anything, else in the answer at rest; None: nowhere."""
    integer = steps[0].graph.integer
    if len(others) != len(steps) and integer:
        return f"need {len(steps)} and {len(others)} steps"
    tolerance = 0.0 if integer else 1e-6
    for quick, slow in zip(steps, others, strict=True) if integer else [(steps[-1], others[-1])]:
        for key in ("fired", "messages", "sops_by_layer", "peaks") if integer else ():
            if not torch.equal(getattr(quick, key), getattr(slow, key)):
                return f"differ in {key} at step {quick.t}"
        for name, value in slow.readout.items():
            if not torch.allclose(quick.readout[name], value, rtol=tolerance, atol=tolerance):
                return f"differ at step {quick.t}, readout '{name}'"
    return None


def change_header(header: dict, chance: random.Random) -> str:
    """One change of the graph's JSON, in place; what it was."""
    nodes = header.get("nodes")
    if type(nodes) is not list or not nodes or not all(type(node) is dict for node in nodes) or chance.random() < 0.3:
        return _change_value(header, chance, "header")
    node, kind = chance.choice(nodes), chance.randrange(10)
    name = str(node.get("name"))[:40]
    match kind:
        case 0:
            at = chance.randrange(len(nodes))
            nodes.insert(at, json.loads(json.dumps(node)))
            return f"node {name} again at {at}"
        case 1:
            nodes.remove(node)
            return f"node {name} left out"
        case 2:
            i, j = chance.randrange(len(nodes)), chance.randrange(len(nodes))
            nodes[i], nodes[j] = nodes[j], nodes[i]
            return f"nodes {i} and {j} swapped"
        case 3:
            source = chance.choice(nodes).get("name")
            inputs = node.get("inputs")
            if type(inputs) is list:
                node["inputs"] = [source if chance.random() < 0.6 else old for old in inputs] or [source]
            return f"node {name} reads {str(source)[:40]}"
        case 4:
            node["type"] = chance.choice([*g.NODE_TYPES, "Attention"])
            return f"node {name} is {node['type']}"
        case 5:
            return _insert(nodes, chance)
        case 6:
            header["levels"] = levels = chance.choice((1, 2, 3, 5, 16, 64, 65, 0))
            for other in nodes:
                if "levels" in other:
                    other["levels"] = levels
            return f"levels {levels} everywhere"
    return _change_value(node, chance, f"node {name}")


def _insert(nodes: list[dict], chance: random.Random) -> str:
    """Put a new node without tensors behind another one; one of its readers may read the new one."""
    at = chance.randrange(len(nodes))
    pair = lambda low: [chance.choice((low, 1, 2, 3, 64))] * 2
    apart = chance.choice((1, 2))
    same = {"kernel": [3, 3], "stride": [1, 1], "padding": [apart] * 2, "dilation": [apart] * 2}  # keeps the size
    fields = {
        "MaxPool": chance.choice((same, {**same, "kernel": pair(1), "padding": pair(0)}))
        | {"ceil_mode": chance.random() < 0.5},
        "AvgPool": {"kernel": pair(1), "stride": pair(1), "padding": pair(0), "divisor": chance.choice((None, 1, 9))},
        "Upsample": {"scale": pair(1)},
        "ZeroPad": {"padding": pair(0) + pair(0)},
        "Slice": {"start": 0, "stop": chance.choice((1, 4, 8))},
        "Add": {},
        "Concat": {},
    }
    kind, source, name = chance.choice(list(fields)), nodes[at].get("name"), f"new{len(nodes)}"
    inputs = [source] * (2 if kind in ("Add", "Concat") else 1)
    nodes.insert(at + 1, {"type": kind, "name": name, "inputs": inputs, **fields[kind]})
    for reader in nodes[at + 2 :]:
        if source in (reader.get("inputs") or ()) and chance.random() < 0.7:
            reader["inputs"] = [name if old == source else old for old in reader["inputs"]]
    return f"{kind} {fields[kind]} behind {str(source)[:40]}"


def _change_value(item: dict, chance: random.Random, where: str) -> str:
    """Another value at a random place below a dictionary."""
    keys = [key for key in item if key not in ("nodes", "type", "inputs", "name")] or ["nodes", "name"]
    key = chance.choice(keys)
    place, at = item, key
    while isinstance(place.get(at) if isinstance(place, dict) else place[at], dict | list) and chance.random() < 0.7:
        inner = place[at]
        if not inner:
            break
        place, at = inner, chance.choice(list(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
    old = place.get(at) if isinstance(place, dict) else place[at]
    roll = chance.random()
    if roll < 0.1 and isinstance(place, dict):
        place.pop(at, None)
        return f"{where}: {key} left out"
    if roll < 0.15 and isinstance(place, dict):
        place[chance.choice(("colour", "lam", "scale", "weight", "theta", "stride", "function", "thresholds"))] = (
            chance.choice(ODD)
        )
        return f"{where}: a key too many"
    if roll < 0.45 and type(old) in (int, float):
        place[at] = chance.choice((old + 1, old - 1, old * 2, -old, float(old), old / 2))
    else:
        place[at] = chance.choice(ODD)
    return (
        f"{where}: {key} {str(old)[:30]!r} -> {str(place[at])[:30] if type(place[at]) is not int else 'an integer'!r}"
    )


def change_tensors(tensors: dict[str, torch.Tensor], chance: random.Random) -> str:
    """One change of the tensors, in the dictionary; what it was."""
    if not tensors:
        return "no tensors"
    key = chance.choice(list(tensors))
    value, kind = tensors[key].clone(), chance.choice((*range(9), 0, 1, 2))
    flat = value.flatten().view(torch.uint8) if value.numel() else value
    match kind:
        case 0 | 1:
            for _ in range(chance.choice((1, 1, 4, 100))):
                flat[chance.randrange(len(flat))] ^= 1 << chance.randrange(8)
            value = flat.view(value.dtype).view(value.shape)
        case 2 | 3:
            odd = chance.choice((math.nan, math.inf, -1, 0, 1, -127, -128, 2**24, 2**31 - 1, 1e30, 1e-30, 0.5))
            at = chance.randrange(max(value.numel(), 1))
            whole = not value.dtype.is_floating_point
            value = value.int() if value.dtype == torch.bool else value
            odd = (int(odd) if math.isfinite(odd) else 127) if whole else odd
            odd = max(min(odd, torch.iinfo(value.dtype).max), torch.iinfo(value.dtype).min) if whole else odd
            value.view(-1)[at if chance.random() < 0.6 else slice(None)] = odd
        case 4:
            value = value.to(chance.choice((torch.float16, torch.float64, torch.int8, torch.int64, torch.bool)))
        case 5:
            value = chance.choice(
                (value.flatten(), value[None], value[:0], value[:1], value.movedim(0, -1), torch.cat([value] * 2))
            )
        case 6:
            tensors[
                chance.choice((f"{key}2", "stray", *(f"{key.rpartition('.')[0]}.{x}" for x in ("lam", "thresholds"))))
            ] = value
            return f"a tensor too many beside {key}"
        case 7:
            del tensors[key]
            return f"tensor {key} left out"
        case 8:
            other = chance.choice(list(tensors))
            value = tensors[other].clone()
    tensors[key] = value.contiguous()
    return f"tensor {key}: change {kind}"


def change_metadata(metadata: dict[str, str], chance: random.Random) -> str:
    """One change of the file's metadata, in place; what it was."""
    kind = chance.randrange(5)
    match kind:
        case 0:
            metadata[CHECKSUM] = chance.choice(("", "0" * 64, metadata[CHECKSUM].upper()))
        case 1:
            del metadata[CHECKSUM]
        case 2:
            metadata[KEY] = chance.choice(("", "null", "[]", "7", "{", '"x"', "{}", DEEP, "1" * 5000))
        case 3:
            metadata["more"] = "x"
        case 4:
            version = chance.choice((1, 2, 3, 4, 5, '"4"', "null", 4.0))
            metadata[KEY] = metadata[KEY].replace('"version": 4', f'"version": {version}')
            if chance.random() < 0.7:
                metadata[CHECKSUM] = "0" * 64
    return f"metadata: change {kind}"


def change_bytes(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    """A change of the file that knows nothing of graphs, or of its table of tensors."""
    kind, data, length = chance.randrange(7), bytearray(raw), struct.unpack("<Q", raw[:8])[0]
    match kind:
        case 0 | 1:
            end = len(data) if kind else length + 8
            for _ in range(chance.choice((1, 1, 2, 16))):
                data[chance.randrange(end)] ^= 1 << chance.randrange(8)
        case 2:
            data = data[: chance.randrange(len(data))]
        case 3:
            data += chance.randbytes(chance.choice((1, 8, 4096)))
        case 4:
            data[:8] = struct.pack("<Q", chance.choice((0, 1, length - 1, length + 1, 2**20, 2**31, 2**40, 2**63)))
        case 5:
            start = chance.randrange(len(data))
            del data[start : start + chance.choice((1, 8, 100))]
        case 6:
            table = json.loads(raw[8 : 8 + length])
            entry = table[chance.choice([key for key in table if key != "__metadata__"])]
            field = chance.choice(("data_offsets", "shape", "dtype"))
            if field == "dtype":
                entry[field] = chance.choice(("F32", "I8", "F64", "BOOL", "F8_E4M3", "X", 7, None))
            elif entry[field] and chance.random() < 0.8:
                at = chance.randrange(len(entry[field]))
                entry[field][at] = chance.choice((0, 1, -1, 2**31, 2**63, 2**64, entry[field][at] + 1, 1.5, "1"))
            else:
                entry[field] = chance.choice(ODD[:-12])
            text = json.dumps(table).encode()
            data = struct.pack("<Q", len(text)) + text + raw[8 + length :]
    return bytes(data), f"bytes: change {kind}"
