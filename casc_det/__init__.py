"""casc_det: YOLO detectors as spiking networks, converted without loss.

SpikingYOLO(weights).predict(source)    detect with a spiking network: a file, a name, a graph or what convert gives
convert(model)                          CQ network -> spiking graph and audit; of a float network with data=images/
train(model=..., data=...)              train a CQ network
load(weights)                           the SpikingGraph in a file, or of a name that casc-det models lists
simulate(graph, images)                 its spikes, step by step; SimulationSettings says how
Simulator(graph).run(images)            the same for many batches
study(weights, data, ...)               accuracy against time steps, energy and errors
CQ, CQReLU                              the activations of a network that is converted
cif_step, if_step, signed_if_step       one step of neurons
CascError, ...                          the errors, also in `casc_det.errors`
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {  # where each name is; imported when it is first used, as most of these import torch
    "ArgumentError": "casc_det.errors.ArgumentError",
    "AuditError": "casc_det.conversion.audit.AuditError",
    "CQ": "casc_det.neurons.activation.CQ",
    "CQReLU": "casc_det.neurons.activation.CQReLU",
    "CascError": "casc_det.errors.CascError",
    "Conversion": "casc_det.yolo.convert.Conversion",
    "ConversionError": "casc_det.errors.ConversionError",
    "EnergyModel": "casc_det.evaluation.energy.EnergyModel",
    "NeuronParams": "casc_det.neurons.rule.NeuronParams",
    "NeuronState": "casc_det.neurons.rule.NeuronState",
    "OutputError": "casc_det.errors.OutputError",
    "SimulationSettings": "casc_det.simulation.settings.SimulationSettings",
    "Simulator": "casc_det.simulation.Simulator",
    "SourceError": "casc_det.errors.SourceError",
    "SpikingGraph": "casc_det.graph.SpikingGraph",
    "SpikingYOLO": "casc_det.api.SpikingYOLO",
    "StudySettings": "casc_det.studies.settings.StudySettings",
    "TrainingError": "casc_det.errors.TrainingError",
    "UsageError": "casc_det.errors.UsageError",
    "WeightsError": "casc_det.errors.WeightsError",
    "cif_step": "casc_det.neurons.cif_step",
    "convert": "casc_det.yolo.convert.convert",
    "if_step": "casc_det.neurons.if_step",
    "initial_state": "casc_det.neurons.rule.initial_state",
    "load": "casc_det.graph.zoo.load",
    "signed_if_step": "casc_det.neurons.signed_if_step",
    "study": "casc_det.studies.run.study",
    "simulate": "casc_det.simulation.simulate",
    "train": "casc_det.training.run.train",
}
_PACKAGES = ("errors",)
__all__ = sorted([*_HOME, *_PACKAGES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"casc_det.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'casc_det' has no attribute '{name}'")
    module, _, attribute = _HOME[name].rpartition(".")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
