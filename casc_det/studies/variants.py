"""The grid of a study: which network, neuron, schedule and disturbance of the images each cell has."""

import json
from dataclasses import dataclass, replace
from itertools import product

from casc_det.base.files import hash_of
from casc_det.neurons import kind_of
from casc_det.simulation import PAPER, PLAIN, SimulationSettings
from casc_det.simulation.settings import VARIANTS
from casc_det.studies.settings import StudySettings, listed

SCHEDULES = {"wsc": "WSC", "constant": "constant input"}  # as tables and figures show them


@dataclass(frozen=True)
class Variant:
    """One cell of the grid.

    Attributes:
        weights: name or path of a spiking graph, as given. levels: another Q for it, without training; 0: its own.
        simulation: neuron, schedule, bursts and corrections; in a `Cell` what was left to the file is filled in.
        corruption, severity: of the images, see `casc_det.studies.corruptions`; severity 0: none.
    """

    weights: str
    simulation: SimulationSettings = PAPER
    corruption: str = "none"
    severity: int = 0
    levels: int = 0

    @classmethod
    def of(cls, values: dict) -> "Variant":
        """From the JSON values of `values`."""
        given = dict(values)
        simulation = {key: given.pop(key) for key in ("neuron", "schedule", *VARIANTS) if key in given}
        return cls(simulation=replace(PAPER, **simulation), **given)

    def values(self) -> dict:
        """As JSON values: `variant` in the records of a study, and columns of its tables."""
        how = self.simulation
        corrections = {"hysteresis": float(how.hysteresis or 0), "delay": float(how.delay or 0)}
        disturbance = {"corruption": self.corruption, "severity": self.severity}
        network = {"weights": self.weights, "neuron": how.neuron, "schedule": how.schedule}
        bursts = {"burst": how.burst or 1, "ramp": bool(how.ramp)}
        return {**network, **corrections, **disturbance, "levels": self.levels, **bursts}

    def key(self, graph: str) -> str:
        """Short and unique: the name of the folder of this variant of a graph with the fingerprint `graph`.

        Unit spikes without ramp rule are not named, as in the first studies, which knew no others.
        """
        content = {**self.values(), "weights": graph}
        for name in ("burst", "ramp"):
            if content[name] == VARIANTS[name]:
                del content[name]
        return hash_of([json.dumps(content, sort_keys=True)])[:12]

    @property
    def network(self) -> str:
        """The weights' name, and Q where it is not their own."""
        name = self.weights.rsplit("/", 1)[-1].removesuffix(".safetensors")
        return f"{name} at Q = {self.levels}" if self.levels else name

    @property
    def rests(self) -> bool:
        """Whether the network comes to rest at the ANN's answer."""
        return self.simulation.rests

    @property
    def method(self) -> str:
        """Neuron, schedule, bursts and corrections in words."""
        how = self.simulation
        text = f"{kind_of(how.neuron).title} + {SCHEDULES.get(how.schedule, how.schedule)}"
        text += f", burst {how.burst}" if how.burst and how.burst > 1 else ""
        text += ", ramp" if how.ramp else ""
        text += f", hysteresis {how.hysteresis:g}" if how.hysteresis else ""
        return text + (f", delay {how.delay:g}" if how.delay else "")

    @property
    def disturbance(self) -> str:
        """Corruption and severity in words."""
        return f"{self.corruption} {self.severity}" if self.severity else "clean"


def make_grid(weights: object, settings: StudySettings) -> list[Variant]:
    """All cells: each network with each neuron, schedule and burst; CIF with WSC also with each correction and
    corruption.

    Args:
        weights: names or paths of spiking graphs, a list or comma-separated.

    Raises:
        ArgumentError: there are no weights, or a neuron or schedule is an own one.
    """
    axes = product(settings.neurons, settings.schedule, settings.burst, settings.ramp)
    methods = [
        replace(PLAIN, neuron=neuron, schedule=schedule, burst=burst, ramp=ramp)
        for neuron, schedule, burst, ramp in axes
    ]
    grid = []
    for network, levels, method in product(listed("weights", weights), settings.levels, methods):
        cell = Variant(network, method, levels=levels)
        grid.append(cell)
        if not cell.rests:
            continue
        changed = [replace(method, hysteresis=value) for value in settings.hysteresis if value is not None]
        changed += [replace(method, delay=value) for value in settings.delay if value is not None]
        grid += [replace(cell, simulation=simulation) for simulation in changed]
        for kind in settings.corruptions:
            for severity in settings.severities if kind != "none" else ():
                grid.append(replace(cell, corruption=kind, severity=severity))
    return list(dict.fromkeys(grid))
