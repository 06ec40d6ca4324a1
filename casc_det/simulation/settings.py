"""How a spiking graph is simulated: one object that travels from the user to the engines."""

from dataclasses import dataclass

from casc_det.base.arguments import check_one_of, is_number, shown
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS, check_neuron, is_own, kind_of
from casc_det.neurons.schedule import SCHEDULES, Schedule, wsc

ENGINES = ("fast", "reference")
MOST_STEPS = 32767  # counts of neurons are int16 in the fast engine


@dataclass(frozen=True)
class SimulationSettings:
    """Engine, neuron and schedule of a simulation.

    Attributes:
        engine: "fast", or "reference": step by step, written to be read; the same spikes.
        neuron: "cif", "if" or "signed_if"; or, in the reference engine, an own one of `casc_det.neurons.NEURONS`.
        schedule: "wsc" (input in the first Q steps) or "constant"; or an own one of `neurons.schedule.SCHEDULES`.
        hysteresis: in thresholds, and delay, in steps a layer: variants of the schedule that send fewer spikes, see
            `casc_det.neurons.schedule`; numbers from 0 (none) to 32767. CIF with WSC comes to rest at the same answer.
            With "constant" input hysteresis lasts for ever, and the answer at a step is another one.

    Raises:
        ArgumentError: a value is none of these, there is hysteresis with a neuron that takes back elsewhere than below
            0 ("if", "signed_if"), or the fast engine has no form of an own neuron or schedule.
    """

    engine: str = "fast"
    neuron: str = "cif"
    schedule: str = "wsc"
    hysteresis: float = 0.0
    delay: float = 0.0

    def __post_init__(self) -> None:
        check_one_of(ENGINES, engine=self.engine)
        check_one_of(NEURONS, neuron=self.neuron)
        check_one_of(SCHEDULES, schedule=self.schedule)
        for name in ("hysteresis", "delay"):
            value = getattr(self, name)
            if not is_number(value, 0, MOST_STEPS):
                raise ArgumentError(f"{name}: expected a number from 0 to {MOST_STEPS}, got {shown(value)}")
        if self.hysteresis and kind_of(self.neuron).low != 0:
            raise ArgumentError(
                f"hysteresis: it changes nothing with neuron='{self.neuron}'; leave it 0, or use neuron='cif'"
            )
        self.check_engine()

    def check_engine(self) -> None:
        """Raise ArgumentError where the neuron is none, or the fast engine is to run a neuron or schedule not ours.

        Neurons and schedules can be added, or replaced, after the settings were made: looked at again at each run.
        """
        check_neuron(self.neuron)
        if self.engine != "fast":
            return
        remedy = "the fast engine cannot run it; use engine='reference'"
        if is_own(self.neuron):
            raise ArgumentError(f"neuron: '{self.neuron}' is an own kind, not one of casc_det; {remedy}")
        kind = type(self.plan(1))
        if kind is not Schedule:
            raise ArgumentError(f"schedule: '{self.schedule}' is an own {kind.__name__}, not one of casc_det; {remedy}")

    def plan(self, levels: int) -> Schedule:
        """The schedule of a graph with `levels` Q."""
        return SCHEDULES[self.schedule](levels, self.hysteresis, self.delay)

    @property
    def rests(self) -> bool:
        """Whether every network comes to rest, at the ANN's answer: CIF with WSC."""
        ours = self.schedule == "wsc" and kind_of(self.neuron).rests and not is_own(self.neuron)
        return ours and self.plan(1) == wsc(1, self.hysteresis, self.delay)


PLAIN = SimulationSettings()
