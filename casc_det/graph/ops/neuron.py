"""Neurons, what an activation becomes."""

from dataclasses import dataclass

import torch

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Place, Spiking
from casc_det.graph.ops.conv import Conv


@dataclass(frozen=True, eq=False, repr=False)
class Neuron(Elementwise):
    """A layer of CIF neurons with threshold `theta` (see `casc_det.neurons`); only in a SpikingGraph.

    `theta` is a number or, in an integer graph, integers per channel, (C, 1, 1). `lam` is the real value that Q spikes
    stand for, the clip of its CQReLU.
    """

    spiking = Spiking.ENGINE
    integer = True
    takes_current = True
    note = "CIF neurons"

    theta: r.Threshold = 1.0
    levels: r.Levels = 8
    lam: r.Positive = 1.0

    def check_place(self, place: Place, levels: int, integer: bool) -> None:
        """Neurons add up what a convolution sends, with one Q in the whole graph."""
        if not isinstance(place.sources[0], Conv):
            self.refuse(f"reads '{self.inputs[0]}', expected a convolution")
        if self.levels != levels:
            self.refuse(f"has levels={self.levels}, the graph {levels}; they must be equal")
        if integer and not isinstance(self.theta, torch.Tensor):
            self.refuse(f"has theta={self.theta}, expected an integer for each channel")
