"""Neurons: the activation that is trained, the rule that follows it, and when input comes."""

from casc_det.neurons.rule import (
    KINDS,
    NEURONS,
    OURS,
    Kind,
    NeuronParams,
    NeuronState,
    cif_step,
    if_step,
    initial_state,
    is_own,
    neuron_step,
    signed_if_step,
)

__all__ = [
    "KINDS",
    "NEURONS",
    "OURS",
    "Kind",
    "NeuronParams",
    "NeuronState",
    "cif_step",
    "if_step",
    "initial_state",
    "is_own",
    "neuron_step",
    "signed_if_step",
]
