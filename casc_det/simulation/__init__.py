"""Simulation of spiking graphs: one meaning, two engines.

`reference` steps through time and is written to be read. `fast` goes layer by layer over many time steps at once. On
an integer graph both give the same spikes, bit for bit; on a real-valued graph sums are rounded in another order.
"""

from collections.abc import Iterator

import torch

from casc_det import graph as g
from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError
from casc_det.graph.validate import check_simulation
from casc_det.neurons import NEURONS, is_own
from casc_det.neurons.schedule import SCHEDULES, wsc
from casc_det.simulation.fast.network import prepare
from casc_det.simulation.fast.run import run_fast
from casc_det.simulation.reference import run_reference
from casc_det.simulation.step import (
    Step,
    auto_limit,
    check_compiled,
    check_corrections,
    check_exact,
    check_images,
    check_timesteps,
    depths,
    exact_dtype,
    first_answer,
    spiking_convolutions,
)

ENGINES = ("fast", "reference")
__all__ = [
    "ENGINES",
    "Step",
    "auto_limit",
    "check_compiled",
    "check_corrections",
    "check_exact",
    "check_timesteps",
    "depths",
    "exact_dtype",
    "first_answer",
    "simulate",
    "spiking_convolutions",
]


def simulate(
    graph: g.SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str = "auto",
    neuron: str = "cif",
    schedule: str = "wsc",
    engine: str = "fast",
    at: tuple[int, ...] = (),
    record: bool = False,
    compare: dict[str, torch.Tensor] | None = None,
    hysteresis: float = 0.0,
    delay: float = 0.0,
) -> Iterator[Step]:
    """Run the spiking network on a batch of pictures, yielding a `Step` after each time step.

    Args:
        graph: see `casc_det.conversion.spiking`; its weights' dtype and device are those of the simulation.
        images: (B, 3, H, W) in 0..1, H and W multiples of the largest stride; an integer graph takes them in 1/255.
        timesteps: number of steps, or "auto": until every picture is quiescent (at most `auto_limit`).
        neuron: "cif", "if" or "signed_if"; or, in the reference engine, an own one of `casc_det.neurons.NEURONS`.
        schedule: "wsc" (input in the first Q steps) or "constant"; or an own one of `neurons.schedule.SCHEDULES`.
        engine: "fast" or "reference".
        at: the steps whose `states` the fast engine must give; the reference engine gives them all.
        record: keep the spikes themselves in each step.
        compare: counts by neuron layer, (B, C, H, W), such as the ANN's, that each step is held against.
        hysteresis, delay: variants of the schedule that send fewer spikes, see `casc_det.neurons.schedule`; 0 for none.

    Raises:
        ArgumentError: an argument is none of these, "auto" without CIF and WSC, which alone come to rest, more steps
            than counts and potentials are exact for, or an own neuron or schedule that the fast engine cannot run.
        ConversionError: the graph cannot be simulated exactly, see `casc_det.graph.validate`.
    """
    for name, value, known in (
        ("neuron", neuron, NEURONS),
        ("schedule", schedule, SCHEDULES),
        ("engine", engine, ENGINES),
    ):
        if value not in known:
            raise ArgumentError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}")
    if timesteps == "auto" and ((neuron, schedule) != ("cif", "wsc") or is_own(neuron)):
        raise ArgumentError("timesteps: 'auto' needs neuron='cif' and schedule='wsc'; give a number of steps")
    check_corrections(hysteresis=hysteresis, delay=delay)
    check_simulation(graph)
    plan = SCHEDULES[schedule](graph.levels, hysteresis, delay)
    if timesteps == "auto" and plan != wsc(graph.levels, hysteresis, delay):
        raise ArgumentError("timesteps: 'auto' needs the schedule 'wsc' of casc_det; give a number of steps")
    if engine == "fast":
        check_compiled(neuron, schedule, graph.levels)
    limit = check_timesteps(timesteps, graph, delay)
    check_images(graph, images)
    network, run = prepare(graph), (limit, neuron, schedule, NEURONS[neuron], SCHEDULES[schedule])
    if run not in network.checked:
        check_exact(graph, limit, neuron, schedule)
        network.checked.add(run)
    if engine == "reference":
        return run_reference(graph, images, limit, timesteps == "auto", neuron, plan, record, compare)
    return run_fast(graph, images, limit, timesteps == "auto", neuron, plan, record, compare, at)
