"""The activation of a captured network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from casc_det.graph import fields as r
from casc_det.graph.node import Elementwise, Place, Spiking
from casc_det.graph.ops.batch_norm import BatchNorm
from casc_det.graph.ops.conv import Conv


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Elementwise):
    """A quantised `function` with clip `lam`, CQReLU where it is ReLU (see `casc_det.neurons`); only in a Graph."""

    spiking = Spiking.CONVERSION
    takes_current = True
    note = "CIF neurons"

    lam: r.Positive = 1.0
    levels: r.Levels = 8
    function: r.Function = "relu"

    def problem(self, place: Place, amplitudes: Sequence[torch.Tensor | None]) -> str | None:
        """It needs a convolution of its own."""
        if not isinstance(place.sources[0], Conv | BatchNorm):
            return "an activation must follow a convolution; put a 1x1 convolution before it"
        if len(place.siblings) > 1:
            return "its input current is also used without neurons; give each use a convolution of its own"
        return None
