"""When the image and the biases are injected, and how the summed readout is read.

WSC, wake-sleep conversion (CASC, arXiv 2406.05371): they are injected in the first steps ("wake"), then never again
("sleep"), so that the network comes to rest. In all the image comes Q times, `burst` times at a step, so wake has
ceil(Q / burst) steps, the last of which brings what is left. The readout at step t is its sum divided by the injected
levels. Constant input is the usual rate coding: injected at every step; counts have no upper limit then.

Three variants of CIF with WSC spend fewer spikes on corrections and keep the fixed point, because all end before the
network rests: during wake a spike is taken back only below -hysteresis * theta; layer k (0, 1, ...) of a path through
the network sends nothing in its first `delay * k` steps; and with the ramp rule a neuron follows, while only the share
r of the input is there, n*(V) = round(r f(V/r) / delta), so that its count grows in proportion to time although f is
not linear. With constant input wake never ends: hysteresis holds at every step, readouts are divided by the injected
levels from the first step on, also while layers wait, and there is no fixed point to keep. Hysteresis does nothing for
neurons that take back elsewhere than below 0; delay holds every kind back; for ReLU the ramp rule changes nothing.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from casc_det.base.arguments import is_integer
from casc_det.errors import ArgumentError
from casc_det.neurons import kind_of


class Rule(NamedTuple):
    """Of one layer in one step.

    limit: the largest count, None for no limit. low: `NeuronParams.low`. ramp: the levels that were injected, whose
    table is followed (`Neuron.ramp_table`); None: that of all levels.
    """

    limit: int | None
    low: float
    ramp: int | None = None


WAITING = Rule(-1, -math.inf)  # sends nothing


@dataclass(frozen=True)
class Schedule:
    """Attributes:
    levels: Q.
    wake: number of steps with input, at least 1; None for ever (constant input).
    hysteresis: in thresholds, at least 0. delay: steps a layer, at least 0, rounded down for each layer.
    burst: the most unit spikes of a neuron in a step, and the levels that a wake step injects. ramp: the ramp rule.

    The reference engine asks the methods at each step, so that those of a subclass count; the fast engine takes them
    for granted and refuses a subclass.
    """

    levels: int
    wake: int | None
    hysteresis: float = 0.0
    delay: float = 0.0
    burst: int = 1
    ramp: bool = False

    def __post_init__(self) -> None:
        if self.wake is not None and not is_integer(self.wake, 1):
            raise ArgumentError(f"wake: expected an integer of at least 1, or None for ever, got {self.wake!r}")

    def awake(self, t: int) -> bool:
        """Whether step t = 1, 2, ... gets input."""
        return self.wake is None or t <= self.wake

    def injected(self, t: int) -> int:
        """How many times the image was injected up to step t = 0, 1, ..., which the summed readout is divided by."""
        if self.wake is None:
            return self.burst * t
        most = self.burst * self.wake
        return min(self.burst * t, self.levels if most - self.burst < self.levels <= most else most)

    def waiting(self, layer: int) -> int:
        """The number of steps in which neuron layer 0, 1, ... sends nothing yet."""
        return math.floor(self.delay * layer)

    def may_rest(self, t: int, layers: int) -> bool:
        """Whether a network of so many layers in a row that sends no spike at step t is at rest."""
        return not self.awake(t) and t > self.waiting(layers - 1)

    def rule(self, neuron: str, t: int, layer: int) -> Rule:
        """What neurons of a kind in layer 0, 1, ... do at step t = 1, 2, ...; own step functions: as CIF."""
        if t <= self.waiting(layer):
            return WAITING
        kind = kind_of(neuron)
        low = -self.hysteresis if kind.low == 0 and self.awake(t) else kind.low
        ramp = self.injected(t) if self.ramp and self.wake is not None and t < self.wake else None
        return Rule(self.count_limit if kind.limited else None, low, ramp)

    @property
    def input_steps(self) -> int:
        """The steps of wake; where it never ends, as many as there are levels."""
        return self.levels if self.wake is None else self.wake

    @property
    def count_limit(self) -> int | None:
        """The largest count of a neuron, None where input never ends."""
        return None if self.wake is None else self.levels


def wsc(levels: int, hysteresis: float = 0.0, delay: float = 0.0, burst: int = 1, ramp: bool = False) -> Schedule:
    """Input in the first ceil(Q / burst) steps."""
    return Schedule(levels, -(-levels // burst), hysteresis, delay, burst, ramp)


def constant(levels: int, hysteresis: float = 0.0, delay: float = 0.0, burst: int = 1, ramp: bool = False) -> Schedule:
    """Input at every step."""
    return Schedule(levels, None, hysteresis, delay, burst, ramp)


SCHEDULES = {"wsc": wsc, "constant": constant}
