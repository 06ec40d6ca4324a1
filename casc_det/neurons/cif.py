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
    """`neuron_step` of CIF neurons."""
    return CIF(current, state, params)
