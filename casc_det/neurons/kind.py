"""What makes a kind of neuron: parameters of the one rule (`casc_det.neurons.rule`), and what it is called.

No torch is imported for that, so that the command line knows the names of all kinds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casc_det.base.arguments import check_flags, is_number, shown
from casc_det.errors import ArgumentError

if TYPE_CHECKING:
    import torch

    from casc_det.neurons.rule import NeuronParams, NeuronState

Step = Callable[["torch.Tensor", "NeuronState", "NeuronParams"], tuple["torch.Tensor", "NeuronState"]]


@dataclass(frozen=True)
class Kind:
    """A kind of neuron, which every engine can run.

    Attributes:
        name: as users give it (`neuron=`). title: as tables and figures show it.
        low: where it takes back, from -inf to 0, see `NeuronParams`.
        limited: whether Q limits its count.
        rests: whether, with WSC, it comes to rest at the activation of its total input.

    Raises:
        ArgumentError: a value is none of these.
    """

    name: str
    title: str
    low: float
    limited: bool
    rests: bool

    def __post_init__(self) -> None:
        for name in ("name", "title"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ArgumentError(f"{name}: expected a text, got {shown(value)}")
        if not is_number(self.low, -math.inf, 0):
            raise ArgumentError(f"low: expected a number of thresholds from -inf to 0, got {shown(self.low)}")
        check_flags(limited=self.limited, rests=self.rests)

    def __call__(
        self, current: "torch.Tensor", state: "NeuronState", params: "NeuronParams"
    ) -> tuple["torch.Tensor", "NeuronState"]:
        """`neuron_step` of this kind; `low`, and `levels` where it is not limited, are its own."""
        from casc_det.neurons.rule import neuron_step

        levels = params.levels if self.limited else None
        return neuron_step(current, state, params._replace(levels=levels, low=self.low))
