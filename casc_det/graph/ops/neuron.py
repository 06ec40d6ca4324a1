"""Neurons, what an activation becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Place, Spiking
from casc_det.graph.ops.conv import Conv
from casc_det.neurons.functions import CountTable, table_of
from casc_det.neurons.rule import Table


@dataclass(frozen=True, eq=False, repr=False)
class Neuron(Elementwise):
    """A layer of CIF neurons (see `casc_det.neurons`); only in a SpikingGraph.

    `theta`, the unit of the potential, is a number or, in an integer graph, integers per channel, (C, 1, 1). `lam` is
    the real value that Q unit spikes stand for, the clip of its activation, which quantises `function`.

    Neurons that follow ReLU have equal steps of theta. Those of any other function have a table: `thresholds` (C, K),
    ascending, and `counts` (K + 1,), of the segments between them; integers in an integer graph.
    """

    spiking = Spiking.ENGINE
    integer = True
    takes_current = True
    note = "CIF neurons"

    theta: r.Threshold = 1.0
    levels: r.Levels = 8
    lam: r.Positive = 1.0
    function: r.Function = "relu"
    thresholds: r.Rows = None
    counts: r.Line = None

    @property
    def table(self) -> Table | None:
        """What the rule follows; None: equal steps."""
        if self.thresholds is None or self.counts is None:
            return None
        return Table(self.thresholds, self.counts.expand(len(self.thresholds), -1))

    @property
    def span(self) -> tuple[int, int]:
        """The least and the largest count."""
        return (0, self.levels) if self.counts is None else (int(self.counts.min()), int(self.counts.max()))

    def table_at(self, ramp: int | None) -> Table | None:
        """What the neurons follow in a step; ramp: that of its `Rule`. None: equal steps."""
        return self.table if ramp is None else self.ramp_table(ramp)

    def ramp_table(self, injected: int) -> Table | None:
        """What the ramp rule follows once so many of the Q levels were injected (`Schedule.rule`); None: equal steps.

        The count that the activation asks for then, r f(V/r) / delta with r = injected/Q, is that of the same clip in
        so many levels. It is made here, in float64, and holds for one step of wake; the table in the file is the last.
        """
        if self.thresholds is None:
            return None
        found = table_of(self.function, self.lam, injected)
        rows = self._rows(found, self.theta, len(self.thresholds)).to(self.thresholds)
        return Table(rows, found.counts.to(rows).expand(len(rows), -1))

    def with_table(self, channels: int, dtype: torch.dtype) -> "Neuron":
        """The same layer, of so many channels, with the table of its function, clip and levels in units of `theta`."""
        if self.function == "relu":
            return self
        found = table_of(self.function, self.lam, self.levels)
        return replace(
            self, thresholds=self._rows(found, self.theta, channels).to(dtype), counts=found.counts.to(dtype)
        )

    @staticmethod
    def _rows(found: CountTable, theta: float | torch.Tensor, channels: int) -> torch.Tensor:
        """(channels, K) float64 thresholds; of integer potentials the least integers that reach them."""
        if isinstance(theta, torch.Tensor):
            return (found.thresholds.to(theta.device) * theta.double().view(-1, 1)).ceil()
        return (found.thresholds * theta).repeat(channels, 1)

    def out_channels(self, parts: Sequence[int]) -> int:
        """Those of its input."""
        if self.thresholds is not None and len(self.thresholds) != parts[0]:
            self.refuse(f"has thresholds of {len(self.thresholds)} channels and reads {parts[0]}")
        return parts[0]

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """Neurons add up what a convolution sends, with one Q in the whole graph."""
        if not isinstance(place.sources[0], Conv):
            self.refuse(f"reads '{self.inputs[0]}', expected a convolution")
        if self.levels != levels:
            self.refuse(f"has levels={self.levels}, the graph {levels}; they must be equal")
        if integer and not isinstance(self.theta, torch.Tensor):
            self.refuse(f"has theta={self.theta}, expected an integer for each channel")

    def check(self) -> None:
        """See `Node.check`."""
        super().check()
        shapes = [None if x is None else tuple(x.shape) for x in (self.thresholds, self.counts)]
        if self.function == "relu":
            if shapes != [None, None]:
                self.refuse("follows relu, which needs no thresholds and counts")
        elif shapes[0] is None or shapes[1] != (shapes[0][1] + 1,) or shapes[0][1] > 4 * self.levels:
            self.refuse(
                f"follows {self.function} with thresholds of shape {shapes[0]} and counts of shape {shapes[1]}, "
                f"expected (C, K) and (K + 1,), K at most {4 * self.levels}"
            )

    def check_table(self) -> None:
        """Raise ConversionError where the table is none: thresholds descend, or counts are no integers in -Q..Q."""
        if self.thresholds is None or self.counts is None:
            return
        if not bool((self.thresholds[:, 1:] >= self.thresholds[:, :-1]).all()):
            self.refuse("has thresholds that are not in ascending order")
        if not torch.equal(self.counts, self.counts.round().clamp(-self.levels, self.levels)):
            self.refuse(f"has counts that are no integers from {-self.levels} to {self.levels}")
