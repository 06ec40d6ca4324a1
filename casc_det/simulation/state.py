"""The state of a simulation between two time steps: all that later steps depend on. It can be kept, forked and saved.

One safetensors file holds it: tensors `pixels`, `quiescent`, `v/<layer>`, `n/<layer>`, `sums/<node>`, `sent/<node>`,
and in the metadata key `casc_det_state` the step, the settings and the fingerprint of the graph as JSON. As in the file
of a graph, key `casc_det_sha256` is the hash of that JSON and of all tensors.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from casc_det import graph as g
from casc_det.base.arguments import check_safetensors, shown
from casc_det.base.files import write_bytes
from casc_det.errors import ArgumentError, one_line
from casc_det.graph.file import CHECKSUM, checksum, fingerprint
from casc_det.neurons.rule import NeuronState
from casc_det.simulation.settings import SimulationSettings

KEY, VERSION = "casc_det_state", 2  # 1 had no bursts


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """What a simulation of B images holds after step `t`; maps are (B, C, H, W). Nobody writes to its tensors.

    Attributes:
        graph, settings: what is simulated, and how.
        t: steps so far.
        pixels: what each wake step injects.
        neurons: potentials and counts by layer; empty before the first step, as are the next two.
        sums: running inputs of the readouts and of the nodes that send temporal differences.
        sent: what these nodes have sent in all, f(sum).
        quiescent: (B,) bool, as in the last step.
        shortcuts: what the engine noted to save work; nothing depends on it, it is not saved.
    """

    graph: g.SpikingGraph
    settings: SimulationSettings
    t: int
    pixels: torch.Tensor
    neurons: dict[str, NeuronState]
    sums: dict[str, torch.Tensor]
    sent: dict[str, torch.Tensor]
    quiescent: torch.Tensor
    shortcuts: Any = field(default=None)

    def __repr__(self) -> str:
        rest = int(self.quiescent.sum())
        return f"State(t={self.t}, {rest} of {len(self.quiescent)} images quiescent, {self.settings})"

    def save(self, path: str | Path) -> Path:
        """Write the state to a safetensors file, which appears whole or not at all; its path.

        Raises:
            ArgumentError: the path does not end in .safetensors.
            OutputError: the file cannot be written.
        """
        check_safetensors(path=path)
        tensors = {"pixels": self.pixels, "quiescent": self.quiescent}
        for name, neuron in self.neurons.items():
            tensors |= {f"v/{name}": neuron.v, f"n/{name}": neuron.n}
        tensors |= {f"sums/{name}": x for name, x in self.sums.items()}
        tensors |= {f"sent/{name}": x for name, x in self.sent.items()}
        values = {key: x.detach().cpu().clone(memory_format=torch.contiguous_format) for key, x in tensors.items()}
        header = {"version": VERSION, "t": self.t, "settings": asdict(self.settings), "graph": made_of(self.graph)}
        text = json.dumps(header)
        return write_bytes(path, save(values, {KEY: text, CHECKSUM: checksum(text, values)}))


def load_state(path: str | Path, graph: g.SpikingGraph, settings: SimulationSettings) -> State:
    """Read a state of `State.save` to go on with.

    Raises:
        ArgumentError: the file is missing or damaged, or holds the state of another graph or of other settings.
    """
    try:
        with safe_open(path, "pt", device=str(graph.device)) as file:
            metadata = file.metadata() or {}
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise ArgumentError(f"state: '{path}' is no state of a simulation ({one_line(error, 200)})") from error
    if KEY not in metadata:
        raise ArgumentError(f"state: '{path}' is no state of a simulation; give a file that State.save wrote")
    if checksum(metadata[KEY], values) != metadata.get(CHECKSUM):
        raise ArgumentError(f"state: '{path}' is damaged, its checksum does not fit its content; save the state again")
    try:
        header = json.loads(metadata[KEY])
        by_part: dict[str, dict[str, torch.Tensor]] = {part: {} for part in ("v", "n", "sums", "sent")}
        for key in sorted(values.keys() - {"pixels", "quiescent"}):
            part, _, name = key.partition("/")
            by_part[part][name] = values[key]
        version, t, how, own = (header[key] for key in ("version", "t", "settings", "graph"))
        neurons = {name: NeuronState(v, by_part["n"][name]) for name, v in by_part["v"].items()}
        fields = (t, values["pixels"], neurons, by_part["sums"], by_part["sent"], values["quiescent"])
    except (KeyError, ValueError, TypeError) as error:
        raise ArgumentError(
            f"state: '{path}' is no state of a simulation; it lacks a part ({shown(str(error))})"
        ) from error
    if version != VERSION:
        raise ArgumentError(
            f"state: '{path}' has version {version}, expected {VERSION}; make it again with this casc_det, or update it"
        )
    if own != made_of(graph):
        raise ArgumentError(f"state: '{path}' is of another graph; load it with the graph that it was made with")
    if how != asdict(settings):
        raise ArgumentError(f"state: '{path}' is of other settings, {how}; use these")
    return State(graph, settings, *fields)


def made_of(graph: g.SpikingGraph) -> str:
    """What tells apart the graphs that a state can belong to."""
    return f"{fingerprint(graph)} {graph.dtype}"


def check_state(state: State, graph: g.SpikingGraph, settings: SimulationSettings) -> None:
    """Raise ArgumentError where a state is not one of this graph and these settings."""
    if not isinstance(state, State):
        raise ArgumentError(f"state: expected a State of Simulator.start, got {type(state).__name__}")
    if state.graph is not graph and made_of(state.graph) != made_of(graph):
        raise ArgumentError(
            "state: it is of another graph; go on with the simulator of the graph that it was made with"
        )
    if state.settings != settings:
        raise ArgumentError(f"state: it is of other settings, {state.settings}; this simulator has {settings}")
