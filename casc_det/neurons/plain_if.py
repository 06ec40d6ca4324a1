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
    """One step of plain integrate-and-fire neurons; a pure function, nothing is changed in place.

    v += current;  s = 1 where v >= theta, else 0;  v -= theta*s;  n += s.

    Args:
        current: input of this step, (B, C, H, W) or any shape, floats.
        state: `NeuronState(v, n)`, potentials and counts in the shape and dtype of `current`; at first that of
            `initial_state(current, params)`.
        params: `NeuronParams`, threshold `theta`; `levels` and `low` are not used.

    Returns:
        (s, state): the spikes, 0 or 1 (up to `gamma` of them), and the state after the step; shape and dtype of
        `current`.
    """
    return IF(current, state, params)
