"""A graph made ready for simulation, and the loop over its time steps."""

from collections.abc import Iterator

import torch

from casc_det import graph as g
from casc_det.errors import ArgumentError
from casc_det.graph.validate import check_simulation
from casc_det.simulation.fast.network import Network
from casc_det.simulation.fast.run import run_fast
from casc_det.simulation.reference import run_reference
from casc_det.simulation.settings import PLAIN, SimulationSettings
from casc_det.simulation.step import Step, check_exact, check_images, check_timesteps


class Simulator:
    """A graph and how it is simulated: checked and prepared once, for any number of batches of images.

    Args:
        graph: see `casc_det.conversion`; its weights' dtype and device are those of the simulation.
        settings: engine, neuron and schedule.

    Raises:
        ArgumentError: the fast engine cannot run the neuron or schedule.
        ConversionError: the graph cannot be simulated exactly, see `casc_det.graph.validate`.
    """

    def __init__(self, graph: g.SpikingGraph, settings: SimulationSettings = PLAIN):
        if not isinstance(settings, SimulationSettings):
            raise ArgumentError(f"settings: expected SimulationSettings, got {type(settings).__name__}")
        settings.check_engine()
        check_simulation(graph)
        self.graph, self.settings = graph, settings
        self.network = Network(graph) if settings.engine == "fast" else None

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
        graph, settings = self.graph, self.settings
        if timesteps == "auto" and not settings.rests:
            raise ArgumentError(
                "timesteps: 'auto' needs neuron='cif' and schedule='wsc' of casc_det; give a number of steps"
            )
        settings.check_engine()
        plan, limit = settings.plan(graph.levels), check_timesteps(timesteps, graph, settings)
        check_images(graph, images)
        check_exact(graph, limit, settings)
        if self.network is None:
            return run_reference(graph, images, limit, timesteps == "auto", settings.neuron, plan, record, compare)
        return run_fast(self.network, images, limit, timesteps == "auto", settings.neuron, plan, record, compare, at)


def simulate(
    graph: g.SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str = "auto",
    settings: SimulationSettings = PLAIN,
    at: tuple[int, ...] = (),
    record: bool = False,
    compare: dict[str, torch.Tensor] | None = None,
) -> Iterator[Step]:
    """Run the spiking network on a batch of images once; for several batches hold a `Simulator`.

    Args and raises: those of `Simulator` and of its `run`.
    """
    return Simulator(graph, settings).run(images, timesteps, at, record, compare)
