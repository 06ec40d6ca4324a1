"""When the picture and the biases are injected, and how the summed readout is read.

WSC, wake-sleep conversion (CASC, arXiv 2406.05371): they are injected in the first Q steps ("wake"), then never
again ("sleep"), so that the network comes to rest. The readout at step t is its sum divided by min(t, Q).
Constant input is the usual rate coding: injected at every step, divided by t; counts have no upper limit then.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Attributes:
    levels: Q.
    wake: number of steps with input; None for ever (constant input).
    """

    levels: int
    wake: int | None

    def awake(self, t: int) -> bool:
        """Whether step t = 1, 2, ... gets input."""
        return self.wake is None or t <= self.wake

    def divisor(self, t: int) -> int:
        """What the summed readout is divided by after step t."""
        return t if self.wake is None else min(t, self.wake)

    @property
    def count_limit(self) -> int | None:
        """The largest count of a neuron, None where input never ends."""
        return None if self.wake is None else self.levels


def wsc(levels: int) -> Schedule:
    return Schedule(levels, levels)


def constant(levels: int) -> Schedule:
    return Schedule(levels, None)


SCHEDULES = {"wsc": wsc, "constant": constant}
