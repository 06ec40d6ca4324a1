"""Simulation of spiking graphs: one meaning, two engines.

`reference` steps through time and is written to be read. `fast` goes layer by layer over many time steps at once. On
an integer graph both give the same spikes, bit for bit; on a real-valued graph sums are rounded in another order.
"""

from casc_det.simulation.checks import (
    auto_limit,
    check_exact,
    check_timesteps,
    depths,
    exact_dtype,
    first_answer,
    spiking_convolutions,
)
from casc_det.simulation.settings import ENGINES, PAPER, PLAIN, SimulationSettings
from casc_det.simulation.simulator import Simulator, simulate
from casc_det.simulation.state import State
from casc_det.simulation.step import Step

__all__ = [
    "ENGINES",
    "PAPER",
    "PLAIN",
    "SimulationSettings",
    "Simulator",
    "State",
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
