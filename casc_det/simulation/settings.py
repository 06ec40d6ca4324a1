"""How a spiking graph is simulated: one object that travels from the user to the engines."""

from dataclasses import dataclass, replace

from casc_det.base.arguments import check_flags, check_one_of, is_integer, is_number, shown
from casc_det.errors import ArgumentError
from casc_det.graph import SpikingGraph
from casc_det.graph.fields import CORRECTION
from casc_det.neurons import NEURONS, check_neuron, is_own, kind_of
from casc_det.neurons.schedule import SCHEDULES, Schedule, wsc

ENGINES = ("fast", "reference")
MOST_STEPS = 32767  # counts of neurons are int16 in the fast engine
VARIANTS: dict[str, float | int | bool] = {"hysteresis": 0.0, "delay": 0.0, "burst": 1, "ramp": False}
"""What a file may recommend (`SpikingGraph.defaults`), and what holds where it does not: the paper's neuron."""


@dataclass(frozen=True)
class SimulationSettings:
    """Engine, neuron and schedule of a simulation.

    Attributes:
        engine: "fast", or "reference": step by step, written to be read; the same spikes.
        neuron: "cif", "if" or "signed_if"; or, in the reference engine, an own one of `casc_det.neurons.NEURONS`.
        schedule: "wsc" (input in the first steps, Q levels in all) or "constant"; or an own one of
            `neurons.schedule.SCHEDULES`.
        hysteresis: in thresholds, and delay, in steps a layer: variants of the schedule that send fewer spikes, see
            `casc_det.neurons.schedule`; numbers from 0 (none) to 32767. CIF with WSC comes to rest at the same answer.
            With "constant" input hysteresis lasts for ever, and the answer at a step is another one.
        burst: the most unit spikes that a neuron sends in a step, from 1 (the paper's) to Q; wake has ceil(Q / burst)
            steps. ramp: during wake counts grow in proportion to time, see `casc_det.neurons.schedule`.
            The last four may be None: what the file of the network recommends for CIF with WSC, else 0, 0, 1, False.

    Raises:
        ArgumentError: a value is none of these, there is hysteresis with a neuron that takes back elsewhere than below
            0 ("if", "signed_if"), or the fast engine has no form of an own neuron or schedule.
    """

    engine: str = "fast"
    neuron: str = "cif"
    schedule: str = "wsc"
    hysteresis: float | None = None
    delay: float | None = None
    burst: int | None = None
    ramp: bool | None = None

    def __post_init__(self) -> None:
        check_one_of(ENGINES, engine=self.engine)
        check_one_of(NEURONS, neuron=self.neuron)
        check_one_of(SCHEDULES, schedule=self.schedule)
        for name in ("hysteresis", "delay"):
            value = getattr(self, name)
            if value is not None and not is_number(value, *CORRECTION):
                raise ArgumentError(f"{name}: expected a number from 0 to {CORRECTION[1]}, got {shown(value)}")
        if self.burst is not None and not is_integer(self.burst, 1):
            raise ArgumentError(f"burst: expected an integer from 1 to the levels Q, got {shown(self.burst)}")
        if self.ramp is not None:
            check_flags(ramp=self.ramp)
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
        kind = type(self._schedule(1))
        if kind is not Schedule:
            raise ArgumentError(f"schedule: '{self.schedule}' is an own {kind.__name__}, not one of casc_det; {remedy}")

    def of(self, graph: SpikingGraph) -> "SimulationSettings":
        """The settings for a graph, with a value for all that was left to its file.

        Raises:
            ArgumentError: a burst above Q, or neurons that follow a table with another neuron or schedule than CIF with
                WSC.
        """
        usual = self.neuron == "cif" and self.schedule == "wsc"
        if not usual and graph.functions != ["relu"]:
            name, value = ("neuron", self.neuron) if self.neuron != "cif" else ("schedule", self.schedule)
            raise ArgumentError(
                f"{name}: '{value}' cannot follow the tables of this network, which are of the whole input; "
                "use neuron='cif' with schedule='wsc', or a network of CQReLU (activation=relu)"
            )
        values = VARIANTS | (graph.defaults if usual else {})
        values["burst"] = min(values["burst"], graph.levels)
        if self.burst is not None and self.burst > graph.levels:
            raise ArgumentError(f"burst: expected an integer from 1 to the levels Q = {graph.levels}, got {self.burst}")
        return replace(self, **{name: value for name, value in values.items() if getattr(self, name) is None})

    def plan(self, graph: SpikingGraph) -> Schedule:
        """The schedule for a graph."""
        return self.of(graph)._schedule(graph.levels)

    @property
    def rests(self) -> bool:
        """Whether every network comes to rest, at the ANN's answer: CIF with WSC."""
        ours = self.schedule == "wsc" and kind_of(self.neuron).rests and not is_own(self.neuron)
        return ours and self._schedule(1) == wsc(1, *self._variants())

    def _variants(self) -> list:
        """Hysteresis, delay, burst and ramp; of what is left to the file, the values without one."""
        return [usual if getattr(self, name) is None else getattr(self, name) for name, usual in VARIANTS.items()]

    def _schedule(self, levels: int) -> Schedule:
        return SCHEDULES[self.schedule](levels, *self._variants())


PLAIN = SimulationSettings()  # as the file of the network recommends
PAPER = SimulationSettings(**VARIANTS)  # type: ignore[arg-type]  # the neuron of the paper, whatever it recommends
