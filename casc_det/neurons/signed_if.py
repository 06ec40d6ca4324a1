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
    """`neuron_step` of signed integrate-and-fire neurons with memory; `levels` is not used."""
    return SIGNED_IF(current, state, params)
