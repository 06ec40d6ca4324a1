"""The state of the fast engine while it works on a chunk: `State` with maps channels last, to be written to."""

from dataclasses import dataclass, field, replace

import torch

from casc_det.neurons.rule import NeuronState
from casc_det.simulation.fast.forms import maps
from casc_det.simulation.fast.signals import nhwc
from casc_det.simulation.state import State


@dataclass
class Shortcuts:
    """What saves work and changes no result; without an entry the work is done.

    Attributes:
        pixels, neurons: those of the state that these belong to; of another they say nothing.
        constant: by node what depends on the pixels alone, (R, H, W, C): the same at each wake step.
        silent: by layer, whether no neuron fired in the last step.
        active: by layer that follows spikes one by one, (B, H*W) uint8, positions of which a neuron fired last.
    """

    pixels: torch.Tensor | None = None
    neurons: dict[str, NeuronState] = field(default_factory=dict)
    constant: dict[str, torch.Tensor] = field(default_factory=dict)
    silent: dict[str, bool] = field(default_factory=dict)
    active: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass
class Neurons:
    """A layer: potentials (B, N) and int16 counts (B, N), N = H*W*C, and (H, W, C)."""

    v: torch.Tensor
    n: torch.Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, state: NeuronState) -> "Neurons":
        """Views of maps (B, C, H, W), where they lie channels last."""
        v, n = nhwc(state.v), nhwc(state.n.to(torch.int16))
        return cls(v.flatten(1), n.flatten(1), (v.shape[1], v.shape[2], v.shape[3]))

    def state(self) -> NeuronState:
        """Views as maps (B, C, H, W), counts in int16."""
        return NeuronState(maps(self.v, self.shape), maps(self.n, self.shape))


class Memory:
    """What a chunk reads and writes of a state; `reuse`: in the memory of the state itself, which is lost then."""

    def __init__(self, state: State, reuse: bool) -> None:
        kept = (lambda x: x) if reuse else torch.clone
        self.pixels = nhwc(state.pixels)
        self.neurons = {name: Neurons.of(NeuronState(*map(kept, x))) for name, x in state.neurons.items()}
        self.sums = {name: kept(x) for name, x in state.sums.items()}
        self.sent = {name: kept(x) for name, x in state.sent.items()}
        self.shortcuts = Shortcuts()
        old = state.shortcuts
        if isinstance(old, Shortcuts) and old.pixels is state.pixels and old.neurons is state.neurons:
            active = {name: kept(x) for name, x in old.active.items()}
            self.shortcuts = Shortcuts(None, {}, dict(old.constant), dict(old.silent), active)

    def state(self, before: State, t: int, quiescent: torch.Tensor) -> State:
        """The state after step `t`."""
        neurons = {name: layer.state() for name, layer in self.neurons.items()}
        shortcuts = replace(self.shortcuts, pixels=before.pixels, neurons=neurons)
        held = (neurons, self.sums, self.sent, quiescent, shortcuts)
        return State(before.graph, before.settings, t, before.pixels, *held)
