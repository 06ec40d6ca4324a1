"""Signed integrate-and-fire with memory (Wang et al., IJCAI 2022): takes back below -theta, no upper limit."""

from typing import TYPE_CHECKING

from casc_det.neurons.kind import Kind

if TYPE_CHECKING:
    import torch

    from casc_det.neurons.rule import NeuronParams, NeuronState

SIGNED_IF = Kind("signed_if", "signed IF", low=-1.0, limited=False, rests=False)


def signed_if_step(
    current: "torch.Tensor", state: "NeuronState", params: "NeuronParams"
) -> tuple["torch.Tensor", "NeuronState"]:
    """One step of signed integrate-and-fire neurons with memory; a pure function, nothing is changed in place.

    v += current;  s = +1 where v >= theta, -1 where v < -theta and n > 0, else 0;  v -= theta*s;  n += s.

    Args:
        current: input of this step, (B, C, H, W) or any shape, floats.
        state: `NeuronState(v, n)`, potentials and counts in the shape and dtype of `current`; at first that of
            `initial_state(current, params)`.
        params: `NeuronParams`, threshold `theta`; `levels` is not used, `low` is -1 whatever it says.

    Returns:
        (s, state): the spikes, -1, 0 or 1 (up to `gamma` of them), and the state after the step; shape and dtype of
        `current`.
    """
    return SIGNED_IF(current, state, params)
