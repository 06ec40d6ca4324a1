"""Simulation of spiking graphs: one meaning, two engines.

`reference` steps through time and is written to be read. `fast` goes layer by layer over many time steps at once. On
an integer graph both give the same spikes, bit for bit; on a real-valued graph sums are rounded in another order.
"""

from collections.abc import Iterator

import torch

from casc_det import graph as g
from casc_det.errors import ArgumentError
from casc_det.graph.validate import check_simulation
from casc_det.simulation.fast.network import prepare
from casc_det.simulation.fast.run import run_fast
from casc_det.simulation.reference import run_reference
from casc_det.simulation.settings import ENGINES, SimulationSettings
from casc_det.simulation.step import (
    Step,
    auto_limit,
    check_exact,
    check_images,
    check_timesteps,
    depths,
    exact_dtype,
    first_answer,
    spiking_convolutions,
)

__all__ = [
    "ENGINES",
    "SimulationSettings",
    "Step",
    "auto_limit",
    "check_exact",
    "check_timesteps",
    "depths",
    "exact_dtype",
    "first_answer",
    "simulate",
    "spiking_convolutions",
]
PLAIN = SimulationSettings()


def simulate(
    graph: g.SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str = "auto",
    settings: SimulationSettings = PLAIN,
    at: tuple[int, ...] = (),
    record: bool = False,
    compare: dict[str, torch.Tensor] | None = None,
) -> Iterator[Step]:
    """Run the spiking network on a batch of images, yielding a `Step` after each time step.

    Args:
        graph: see `casc_det.conversion`; its weights' dtype and device are those of the simulation.
        images: (B, 3, H, W) in 0..1, H and W multiples of the largest stride; an integer graph takes them in 1/255.
        timesteps: number of steps, or "auto": until every image is quiescent (at most `auto_limit`).
        settings: engine, neuron and schedule.
        at: the steps whose `states` the fast engine must give; the reference engine gives them all.
        record: keep the spikes themselves in each step.
        compare: counts by neuron layer, (B, C, H, W), such as the ANN's, that each step is held against.

    Raises:
        ArgumentError: an argument is none of these, "auto" without CIF and WSC, which alone come to rest, more steps
            than counts and potentials are exact for, or an own neuron or schedule that the fast engine cannot run.
        ConversionError: the graph cannot be simulated exactly, see `casc_det.graph.validate`.
    """
    if not isinstance(settings, SimulationSettings):
        raise ArgumentError(f"settings: expected SimulationSettings, got {type(settings).__name__}")
    if timesteps == "auto" and not settings.rests:
        raise ArgumentError(
            "timesteps: 'auto' needs neuron='cif' and schedule='wsc' of casc_det; give a number of steps"
        )
    settings.check_engine()
    check_simulation(graph)
    plan, limit = settings.plan(graph.levels), check_timesteps(timesteps, graph, settings)
    check_images(graph, images)
    network, run = prepare(graph), (limit, settings, plan)
    if run not in network.checked:
        check_exact(graph, limit, settings)
        network.checked.add(run)
    if settings.engine == "reference":
        return run_reference(graph, images, limit, timesteps == "auto", settings.neuron, plan, record, compare)
    return run_fast(graph, images, limit, timesteps == "auto", settings.neuron, plan, record, compare, at)
