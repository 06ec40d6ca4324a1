"""IF, the plain integrate-and-fire neuron: no upper limit, and nothing is ever taken back."""

import math
from typing import TYPE_CHECKING

from casc_det.neurons.kind import Kind

if TYPE_CHECKING:
    import torch

    from casc_det.neurons.rule import NeuronParams, NeuronState

IF = Kind("if", "IF", low=-math.inf, limited=False, rests=False)


def if_step(
    current: "torch.Tensor", state: "NeuronState", params: "NeuronParams"
) -> tuple["torch.Tensor", "NeuronState"]:
    """`neuron_step` of plain integrate-and-fire neurons; `levels` is not used."""
    return IF(current, state, params)
