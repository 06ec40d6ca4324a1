"""What a study is asked for, as one object: axes of the grid, time steps, data set, sizes, energy, and the folder."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from casc_det.base.arguments import check_counts, check_fields, check_flags, check_texts
from casc_det.base.device import check_device
from casc_det.base.kinds import FLAG, step_range
from casc_det.base.threads import check_threads
from casc_det.errors import ArgumentError
from casc_det.evaluation.energy import ENERGY, EnergyModel
from casc_det.heads.policies import Policy, read_policy
from casc_det.neurons import NEURONS
from casc_det.neurons.activation import check_levels
from casc_det.neurons.schedule import SCHEDULES
from casc_det.simulation import SimulationSettings
from casc_det.studies.corruptions import SEVERITIES, STRENGTHS

LARGEST = 4096  # time step


def listed(name: str, value: object, kind: Callable[[Any], Any] = str) -> tuple:
    """The parts of a comma-separated argument, each once; numbers where `kind` is one.

    Raises:
        ArgumentError: there is none, or one is no number.
    """
    parts: Iterable = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    )
    try:
        found = [kind(part.strip() if isinstance(part, str) else part) for part in parts if str(part).strip()]
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}: expected numbers, comma-separated, got {value!r}") from None
    if not found:
        raise ArgumentError(f"{name}: expected at least one value, got {value!r}")
    return tuple(dict.fromkeys(found))


def some_of(name: str, value: object, known: Iterable) -> tuple:
    """`listed`, or ArgumentError where a part is none of the known ones."""
    known = list(known)
    found = listed(name, value, type(known[0]))
    for part in found:
        if part not in known:
            raise ArgumentError(f"{name}: expected some of {', '.join(map(str, known))}, got {part!r}")
    return found


def read_timesteps(value: object) -> tuple[int, ...]:
    """`1..64`, `8,16,32` or a list: integers above 0 in rising order.

    Raises:
        ArgumentError: they are none, not in order, or beyond `LARGEST`.
    """
    text = str(value).strip()
    if isinstance(value, str) and ".." in text:
        try:
            steps = tuple(step_range(text))
        except ValueError as error:
            raise ArgumentError(f"timesteps: got {value!r}; {error}") from None
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
    if not steps or steps[0] < 1 or list(steps) != sorted(steps):
        raise ArgumentError(f"timesteps: expected integers above 0 in rising order, got {value!r}")
    if steps[-1] > LARGEST:
        raise ArgumentError(f"timesteps: expected at most {LARGEST}, got {steps[-1]}")
    return steps


def read_variants(name: str, value: object, kind: Callable[[Any], Any]) -> tuple:
    """Values of hysteresis, delay or burst, see `SimulationSettings`; (None,): what each file recommends."""
    found = RECOMMENDED if value in (None, RECOMMENDED) else listed(name, value, kind)
    for one in found:
        SimulationSettings(**{name: one})
    return found


def read_flags(name: str, value: object) -> tuple:
    """True, false or both; (None,): what each file recommends."""
    if value in (None, RECOMMENDED):
        return RECOMMENDED
    return tuple(dict.fromkeys(FLAG.value(name, part) for part in listed(name, value)))


def read_policies(value: object) -> tuple[Policy, ...]:
    """Rules of early exit, see `casc_det.heads.policies`."""
    return tuple(read_policy(part, "policies") for part in listed("policies", value))


POLICIES = read_policies("quiescent,boxes-stable(2),boxes-stable(4),confident(0.5)")
CPU = torch.device("cpu")
RECOMMENDED = (None,)
READERS: dict[str, Callable[[object], object]] = {
    "timesteps": read_timesteps,
    "neurons": partial(some_of, "neurons", known=NEURONS),
    "schedule": partial(some_of, "schedule", known=SCHEDULES),
    "hysteresis": partial(read_variants, "hysteresis", kind=float),
    "delay": partial(read_variants, "delay", kind=float),
    "burst": partial(read_variants, "burst", kind=lambda part: int(part) if isinstance(part, str) else part),
    "ramp": partial(read_flags, "ramp"),
    "corruptions": partial(some_of, "corruptions", known=("none", *STRENGTHS)),
    "severities": partial(some_of, "severities", known=SEVERITIES),
    "levels": lambda value: tuple(q and check_levels(q) for q in listed("levels", value, int)),
    "policies": read_policies,
    "device": check_device,
    "threads": check_threads,
}


@dataclass(frozen=True)
class StudySettings:
    """Everything but the networks and the data. Lists may also be given as comma-separated texts, as in the shell.

    Attributes:
        timesteps: of the curves, in rising order; also `1..64`.
        neurons, schedule, hysteresis, delay, corruptions, severities, levels, burst, ramp: axes of the grid, see
            `make_grid`; hysteresis, delay, burst and ramp: (None,): what the file of each network recommends.
        policies: rules of early exit, see `casc_det.heads.policies`.
        images, split: of the data set, see `casc_det.evaluation.truth.read_truth`. limit: the first so many images.
        imgsz: side in pixels or (height, width); None: that of the first graph.
        device: see `casc_det.base.device`. threads: see `casc_det.base.threads`.
        energy: of operations.
        project, name, exist_ok: the run folder; exist_ok: write into it even if it exists, in place of its study.
        report: make figures, tables and the page of all cells in the folder, too.

    Raises:
        ArgumentError: a value is none of these.
    """

    timesteps: tuple[int, ...] = tuple(range(1, 65))
    neurons: tuple[str, ...] = ("cif",)
    schedule: tuple[str, ...] = ("wsc",)
    hysteresis: tuple[float | None, ...] = RECOMMENDED
    delay: tuple[float | None, ...] = RECOMMENDED
    corruptions: tuple[str, ...] = ("none",)
    severities: tuple[int, ...] = SEVERITIES
    levels: tuple[int, ...] = (0,)
    burst: tuple[int | None, ...] = RECOMMENDED
    ramp: tuple[bool | None, ...] = RECOMMENDED
    policies: tuple[Policy, ...] = POLICIES
    images: str | Path | None = None
    split: str = "val"
    limit: int | None = None
    imgsz: int | tuple[int, int] | None = None
    device: torch.device = CPU
    threads: int | str = "auto"
    energy: EnergyModel = ENERGY
    project: str | Path | None = None
    name: str | None = None
    exist_ok: bool = False
    report: bool = True

    def __post_init__(self) -> None:
        for name, read in READERS.items():
            object.__setattr__(self, name, read(getattr(self, name)))
        check_texts(project=self.project, name=self.name)
        check_flags(exist_ok=self.exist_ok, report=self.report)
        if self.limit is not None:
            check_counts(limit=self.limit)
        if not isinstance(self.energy, EnergyModel):
            raise ArgumentError(f"energy: expected an EnergyModel, got {type(self.energy).__name__}")


def settings_of(given: StudySettings | None, changes: dict[str, Any]) -> StudySettings:
    """Settings with some fields given by name.

    Raises:
        ArgumentError: they are no settings, or have no such field.
    """
    settings = StudySettings() if given is None else given
    if not isinstance(settings, StudySettings):
        raise ArgumentError(
            f"settings: expected StudySettings, got {type(given).__name__}; give its fields by name: timesteps='1..64'"
        )
    check_fields(StudySettings, changes, "study")
    return replace(settings, **changes)
