"""Where the image comes in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from casc_det.graph.fields import Rule
from casc_det.graph.node import Elementwise, Spiking


@dataclass(frozen=True, eq=False, repr=False)
class Input(Elementwise):
    """The image, (B, 3, H, W) RGB in 0..1."""

    arity = (0, 0)
    spiking = Spiking.ENGINE
    integer = True
    note = "injected at each wake step"

    channels: Annotated[int, Rule("3", lambda x: type(x) is int and x == 3)] = 3

    def out_channels(self, parts: Sequence[int]) -> int:
        """Red, green and blue."""
        return self.channels
