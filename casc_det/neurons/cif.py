"""CIF, consistent integrate-and-fire (CASC, arXiv 2406.05371): takes back, within 0..Q, what was sent too early."""

from typing import TYPE_CHECKING

from casc_det.neurons.kind import Kind

if TYPE_CHECKING:
    import torch

    from casc_det.neurons.rule import NeuronParams, NeuronState

CIF = Kind("cif", "CIF", low=0.0, limited=True, rests=True)


def cif_step(
    current: "torch.Tensor", state: "NeuronState", params: "NeuronParams"
) -> tuple["torch.Tensor", "NeuronState"]:
    """One step of CIF neurons (consistent integrate-and-fire); a pure function, nothing is changed in place.

    v += current;  s = +1 where v >= theta and n < levels, -1 where v < 0 and n > 0, else 0;  v -= theta*s;  n += s.

    Args:
        current: input of this step, (B, C, H, W) or any shape, floats.
        state: `NeuronState(v, n)`, potentials and counts in the shape and dtype of `current`; at first that of
            `initial_state(current, params)`.
        params: `NeuronParams`, threshold `theta` and largest count `levels` (Q); `low` is 0 whatever it says.

    Returns:
        (s, state): the spikes, -1, 0 or 1 (up to `gamma` of them), and the state after the step; shape and dtype of
        `current`.
    """
    return CIF(current, state, params)
