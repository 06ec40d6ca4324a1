"""A graph made ready for simulation: its states, and the loop over time steps."""

from collections.abc import Iterator
from pathlib import Path

import torch

from casc_det import graph as g
from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError
from casc_det.graph.validate import check_simulation
from casc_det.neurons.rule import NeuronState
from casc_det.simulation.checks import check_burst, check_exact, check_images, check_timesteps
from casc_det.simulation.fast.engine import FastEngine
from casc_det.simulation.reference import ReferenceEngine
from casc_det.simulation.settings import MOST_STEPS, PLAIN, SimulationSettings
from casc_det.simulation.state import State, check_state, load_state
from casc_det.simulation.step import Extras, Step


class Simulator:
    """A graph and how it is simulated: checked and prepared once, for any number of batches of images.

    `run` simulates a batch. `start` and `advance` do so by hand, with the state between steps in the caller's hands.

    Args:
        graph: see `casc_det.conversion`; its weights' dtype and device are those of the simulation.
        settings: engine, neuron and schedule; what they leave to the graph's file is filled in.

    Raises:
        ArgumentError: `graph` or `settings` is of another type, or the fast engine cannot run the neuron or schedule.
        ConversionError: the graph cannot be simulated exactly, see `casc_det.graph.validate`.
    """

    def __init__(self, graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> None:
        if not isinstance(graph, g.SpikingGraph):
            named = isinstance(graph, str | Path)
            way = f"casc_det.load({shown(str(graph))})" if named else "what casc_det.load or convert(model).graph gives"
            raise ArgumentError(f"graph: expected a SpikingGraph, got {shown(graph)}; pass {way}")
        if not isinstance(settings, SimulationSettings):
            raise ArgumentError(f"settings: expected SimulationSettings, got {type(settings).__name__}")
        settings.check_engine()
        settings = settings.of(graph)
        check_simulation(graph)
        check_burst(graph, settings)
        self.graph, self.settings = graph, settings
        self._engine = (FastEngine if settings.engine == "fast" else ReferenceEngine)(graph, settings)

    def __repr__(self) -> str:
        return f"Simulator({self.graph!r}, {self.settings})"

    def run(
        self,
        images: torch.Tensor,
        timesteps: int | str = "auto",
        at: tuple[int, ...] = (),
        record: bool = False,
        compare: dict[str, torch.Tensor] | None = None,
    ) -> Iterator[Step]:
        """Simulate a batch of images, yielding a `Step` after each time step.

        Args:
            images: (B, 3, H, W) in 0..1, H and W multiples of the largest stride; an integer graph takes them in 1/255.
            timesteps: number of steps, or "auto": until every image is quiescent (at most `auto_limit`).
            at: the steps whose `states` the fast engine must give; the reference engine gives them all.
            record: keep the spikes themselves in each step.
            compare: counts by neuron layer, (B, C, H, W), such as the ANN's, that each step is held against.

        Raises:
            ArgumentError: an argument is none of these, "auto" without CIF and WSC, which alone come to rest, or more
                steps than counts and potentials are exact for.
        """
        if timesteps == "auto" and not self.settings.rests:
            raise ArgumentError(
                "timesteps: 'auto' needs neuron='cif' and schedule='wsc' of casc_det; give a number of steps"
            )
        limit = check_timesteps(timesteps, self.graph, self.settings)
        state = self.start(images)
        check_exact(self.graph, limit, self.settings)
        return self._run(state, limit, timesteps == "auto", {*at, limit}, Extras(record, compare))

    def start(self, images: torch.Tensor) -> State:
        """The state before the first step of a batch of images, see `run`."""
        self.settings.check_engine()
        check_images(self.graph, images)
        quiescent = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        return State(self.graph, self.settings, 0, self.graph.pixels(images), {}, {}, {}, quiescent)

    def advance(
        self, state: State, steps: int, record: bool = False, compare: dict[str, torch.Tensor] | None = None
    ) -> tuple[State, list[Step]]:
        """Go on from a state, which stays as it is: the state after so many steps, and these.

        Args:
            steps: an integer from 1; 32767 are possible in all. record, compare: see `run`. The last step has `states`.

        Raises:
            ArgumentError: `steps` is none, the state is of another graph or of other settings, or there are more steps
                than counts and potentials are exact for.
        """
        self.settings.check_engine()
        check_state(state, self.graph, self.settings)
        if not is_integer(steps, 1, MOST_STEPS - state.t):
            after = f" after {state.t} steps" if state.t else ""
            raise ArgumentError(
                f"steps: expected an integer from 1 to {MOST_STEPS - state.t}{after}, got {shown(steps)}"
            )
        end = state.t + steps
        check_exact(self.graph, end, self.settings)
        known: list[Step] = []
        reuse = False
        while state.t < end:
            count = min(end - state.t, self._engine.longest(state))
            with torch.no_grad():
                state, new = self._engine.advance(state, count, Extras(record, compare), reuse)
            known, reuse = known + new, True
        known[-1].states = _states(state)
        return state, known

    def load(self, path: str | Path) -> State:
        """A state of `State.save`; ArgumentError where it is damaged, of another graph, or of other settings."""
        return load_state(path, self.graph, self.settings)

    def _run(self, state: State, limit: int, until_quiescent: bool, stops: set[int], extras: Extras) -> Iterator[Step]:
        """The steps up to `limit`; those in `stops`, and those at rest, have `states`."""
        at_rest: dict[str, NeuronState] = {}
        while state.t < limit:
            stop = min(t for t in stops if t > state.t)
            count = min(stop - state.t, self._engine.longest(state))
            with torch.no_grad():
                state, known = self._engine.advance(state, count, extras, reuse=True)
            for step in known:
                final = bool(step.quiescent.all())
                if final and not step.states:
                    step.states = at_rest = at_rest or _states(state)
                elif step.t in stops:
                    step.states = _states(state)
                yield step
                if until_quiescent and final:
                    return


def _states(state: State) -> dict[str, NeuronState]:
    """Copies of all potentials and counts, in the dtype of the potentials."""
    return {name: NeuronState(v.clone(), n.to(v.dtype, copy=True)) for name, (v, n) in state.neurons.items()}


def simulate(
    graph: g.SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str = "auto",
    settings: SimulationSettings = PLAIN,
    at: tuple[int, ...] = (),
    record: bool = False,
    compare: dict[str, torch.Tensor] | None = None,
) -> Iterator[Step]:
    """Run a spiking network on a batch of images once, yielding a `Step` after each time step.

    For several batches hold a `Simulator`, which prepares the graph once.

    Args:
        graph: what `casc_det.load(name or path)` or `casc_det.convert(model).graph` gives.
        images: (B, 3, H, W) RGB in 0..1, in the dtype of the graph's weights (float32 as loaded), H and W multiples of
            the largest stride; an integer graph takes them in 1/255.
        timesteps: number of steps, or "auto": until every image is quiescent (at most `auto_limit`).
        settings: engine, neuron and schedule with its variants.
        at: the steps whose `states` the fast engine must give; the reference engine gives them all.
        record: keep the spikes themselves in each step.
        compare: counts by neuron layer, (B, C, H, W), such as the ANN's, that each step is held against.

    Returns:
        An iterator of `Step`: `t`, `readout` (maps by name; the ANN's at quiescence), `quiescent`, `fired`, `sops`.

    Raises:
        ArgumentError: an argument is none of these, "auto" without CIF and WSC, which alone come to rest, or more steps
            than counts and potentials are exact for.
        ConversionError: the graph cannot be simulated exactly, see `casc_det.graph.validate`.
    """
    return Simulator(graph, settings).run(images, timesteps, at, record, compare)
