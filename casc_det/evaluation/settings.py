"""How networks are held against a data set: one object that travels from the user to every part of a validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from casc_det.base.arguments import check_counts, check_flags, check_one_of
from casc_det.base.kinds import STEPS_LIST
from casc_det.base.threads import check_threads
from casc_det.errors import ArgumentError
from casc_det.evaluation.bootstrap import check_draws
from casc_det.evaluation.energy import ENERGY, EnergyModel
from casc_det.graph import SpikingGraph
from casc_det.simulation import PLAIN, SimulationSettings, check_timesteps

PROTOCOLS = ("coco", "voc07", "voc12")


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """What is run on every image of a data set, and how it is scored.

    Attributes:
        timesteps: integers and "auto", the rows of the spiking network, see `check_rows`.
        imgsz: (height, width) of the letterboxed image. rect: pad to the stride only.
        batch: images that are simulated together.
        protocol: one of `PROTOCOLS`; None: voc12 for a VOC folder, else coco.
        mapping: class name of the data set -> of the model, or several of them, where names differ.
        bootstrap: draws for the interval of the gap to the ANN; 0 for none.
        threads: see `casc_det.base.threads`.

    Raises:
        ArgumentError: a value cannot work.
    """

    timesteps: tuple[int | str, ...]
    imgsz: tuple[int, int]
    rect: bool = False
    batch: int = 1
    protocol: str | None = None
    mapping: Mapping[str, str | list[str]] | None = None
    bootstrap: int = 1000
    energy: EnergyModel = ENERGY
    simulation: SimulationSettings = PLAIN
    threads: int | str = "auto"

    def __post_init__(self) -> None:
        check_counts(batch=self.batch)
        check_flags(rect=self.rect)
        if self.protocol is not None:
            check_one_of(PROTOCOLS, protocol=self.protocol)
        check_draws(self.bootstrap)
        check_threads(self.threads)

    def protocol_of(self, kind: str) -> str:
        """The protocol for a data set of a kind, see `Truth`."""
        return self.protocol or ("voc12" if kind == "voc" else "coco")

    @property
    def last(self) -> int | str:
        """What to simulate: the largest row, or until quiescence."""
        return "auto" if "auto" in self.timesteps else max(int(t) for t in self.timesteps)

    @property
    def rows(self) -> list[str]:
        """The names of the rows of the spiking network."""
        return [f"snn {t}" for t in self.timesteps]


def check_rows(timesteps: str | int | Sequence[int | str], graph: SpikingGraph) -> tuple[int | str, ...]:
    """The rows of the spiking network: integers, ranges such as "5..8" and "auto", each once, in the order given.

    Raises:
        ArgumentError: there is none, or one that the graph cannot be simulated for.
    """
    if isinstance(timesteps, str):
        timesteps = STEPS_LIST.value("timesteps", timesteps)
    rows = [timesteps] if isinstance(timesteps, int) else list(timesteps)
    for t in rows:
        check_timesteps(t, graph)
    if not rows:
        raise ArgumentError("timesteps: expected integers above 0 or 'auto', comma-separated, got nothing")
    return tuple(dict.fromkeys(rows))
