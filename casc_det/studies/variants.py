"""The grid of a study: which network, neuron, schedule and disturbance of the pictures each cell has."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from itertools import product

from casc_det.base.kinds import step_range
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS
from casc_det.neurons.activation import check_levels
from casc_det.neurons.schedule import SCHEDULES
from casc_det.simulation import SimulationSettings

CORRUPTIONS = ("noise", "blur", "fog", "jpeg", "brightness")
SEVERITIES = (1, 2, 3)


@dataclass(frozen=True)
class Variant:
    """One cell of the grid.

    Attributes:
        weights: name or path of a spiking graph, as given. levels: another Q for it, without training; 0: its own.
        hysteresis, delay: see `casc_det.neurons.schedule`.
        corruption, severity: of the pictures, see `casc_det.studies.corruptions`; severity 0: none.
    """

    weights: str
    neuron: str = "cif"
    schedule: str = "wsc"
    hysteresis: float = 0.0
    delay: float = 0.0
    corruption: str = "none"
    severity: int = 0
    levels: int = 0

    @property
    def network(self) -> str:
        """The weights' name, and Q where it is not their own."""
        name = self.weights.rsplit("/", 1)[-1].removesuffix(".safetensors")
        return f"{name} at Q = {self.levels}" if self.levels else name

    def key(self, graph: str) -> str:
        """Short and unique: the name of the folder of this variant of a graph with the fingerprint `graph`."""
        content = {**asdict(self), "weights": graph}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def simulation(self) -> SimulationSettings:
        """How it is simulated."""
        return SimulationSettings("fast", self.neuron, self.schedule, self.hysteresis, self.delay)

    @property
    def rests(self) -> bool:
        """Whether the network comes to rest at the ANN's answer."""
        return (self.neuron, self.schedule) == ("cif", "wsc")

    @property
    def plain(self) -> bool:
        """CIF and WSC without a variant of the corrections."""
        return self.rests and not self.hysteresis and not self.delay

    @property
    def method(self) -> str:
        """Neuron, schedule and corrections in words."""
        names = {"cif": "CIF", "if": "IF", "signed_if": "signed IF"}
        schedules = {"wsc": "WSC", "constant": "constant input"}
        text = f"{names[self.neuron]} + {schedules[self.schedule]}"
        text += f", hysteresis {self.hysteresis:g}" if self.hysteresis else ""
        return text + (f", delay {self.delay:g}" if self.delay else "")

    @property
    def disturbance(self) -> str:
        return f"{self.corruption} {self.severity}" if self.severity else "clean"


def listed(name: str, value, kind=str) -> list:
    """The parts of a comma-separated argument, each once; numbers where `kind` is one."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    try:
        found = [kind(part.strip() if isinstance(part, str) else part) for part in parts if str(part).strip()]
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}: expected numbers, comma-separated, got {value!r}") from None
    if not found:
        raise ArgumentError(f"{name}: expected at least one value, got {value!r}")
    return list(dict.fromkeys(found))


def make_grid(
    weights,
    neurons="cif",
    schedule="wsc",
    hysteresis=0,
    delay=0,
    corruptions="none",
    severities=SEVERITIES,
    levels=(0,),
) -> list[Variant]:
    """All cells: each network with each neuron and schedule; CIF with WSC also with each correction and corruption.

    Raises:
        ArgumentError: an axis is empty or holds an unknown value.
    """
    networks = listed("weights", weights)
    steps = [value and check_levels(value) for value in listed("levels", levels, int)]
    methods = [listed("neurons", neurons), listed("schedule", schedule)]
    for name, values, known in (
        ("neurons", methods[0], NEURONS),
        ("schedule", methods[1], SCHEDULES),
        ("corruptions", listed("corruptions", corruptions), ("none", *CORRUPTIONS)),
        ("severities", listed("severities", severities, int), SEVERITIES),
    ):
        for value in values:
            if value not in known:
                raise ArgumentError(f"{name}: expected some of {', '.join(map(str, known))}, got {value!r}")
    numbers = {"hysteresis": listed("hysteresis", hysteresis, float), "delay": listed("delay", delay, float)}
    for name, values in numbers.items():
        for value in values:
            SimulationSettings(**{name: value})
    grid = []
    for network, level, neuron, plan in product(networks, steps, *methods):
        plain = Variant(network, neuron, plan, levels=level)
        grid.append(plain)
        if not plain.rests:
            continue
        grid += [replace(plain, hysteresis=value) for value in numbers["hysteresis"] if value]
        grid += [replace(plain, delay=value) for value in numbers["delay"] if value]
        for kind in listed("corruptions", corruptions):
            for severity in listed("severities", severities, int) if kind != "none" else ():
                grid.append(replace(plain, corruption=kind, severity=severity))
    return list(dict.fromkeys(grid))


def read_timesteps(value, largest: int = 4096) -> list[int]:
    """`1..64`, `8,16,32` or a list: whole numbers above 0 in rising order.

    Raises:
        ArgumentError: they are none, not in order, or beyond `largest`.
    """
    text = str(value).strip()
    if isinstance(value, str) and ".." in text:
        try:
            steps = step_range(text)
        except ValueError as error:
            raise ArgumentError(f"timesteps: {error}, got {value!r}") from None
    elif "auto" in text:
        raise ArgumentError(
            f"timesteps: expected <first>..<last> such as 1..64, or integers, comma-separated, got {value!r}; the "
            "curves of a study need steps (casc-det val takes auto)"
        )
    else:
        steps = listed("timesteps", value, int)
        given = value.split(",") if isinstance(value, str) else value
        if isinstance(given, list | tuple) and len(given) != len(steps):
            raise ArgumentError(f"timesteps: expected each step once, got {value!r}")
    if not steps or steps[0] < 1 or steps != sorted(steps):
        raise ArgumentError(f"timesteps: expected whole numbers above 0 in rising order, got {value!r}")
    if steps[-1] > largest:
        raise ArgumentError(f"timesteps: expected at most {largest}, got {steps[-1]}")
    return steps
