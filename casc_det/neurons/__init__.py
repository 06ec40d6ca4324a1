"""Neurons: the activation that is trained, the rule that follows it, its kinds, and when input comes.

A kind of neuron is one file and one line here. No torch is imported for their names.
"""
# ruff: noqa: F401  what is imported is what there is

from casc_det.base.arguments import shown
from casc_det.errors import ArgumentError
from casc_det.neurons.cif import CIF, cif_step
from casc_det.neurons.kind import Kind, Step
from casc_det.neurons.plain_if import IF, if_step
from casc_det.neurons.signed_if import SIGNED_IF, signed_if_step

NEURONS: dict[str, Kind | Step] = {kind.name: kind for kind in list(vars().values()) if isinstance(kind, Kind)}
"""Every kind of neuron, by name. An own one may be added, or take the place of one: a `Kind`, which every engine runs,
or a step function, which the reference engine calls with the limits that `Schedule.rule` gives CIF, and which the fast
engine refuses."""


def check_neuron(neuron: str) -> None:
    """Raise ArgumentError where what `NEURONS` holds under a name is neither a `Kind` nor a function."""
    kind = NEURONS[neuron]
    if not callable(kind) or isinstance(kind, type):
        raise ArgumentError(f"neuron: NEURONS['{neuron}'] is no Kind and no step function, got {shown(kind)}")


def is_own(neuron: str) -> bool:
    """Whether a kind of neuron is an own step function, of which nothing is known."""
    return not isinstance(NEURONS[neuron], Kind)


def kind_of(neuron: str) -> Kind:
    """The parameters of a kind of neuron: of an own step function, or an unknown name, those of CIF."""
    kind = NEURONS.get(neuron)
    return kind if isinstance(kind, Kind) else CIF
