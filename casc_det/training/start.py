"""Which functions a training quantises: what is asked for, held against what it starts from."""

from pathlib import Path
from typing import Any, NamedTuple

import casc_det.yolo  # noqa: F401  prepares Ultralytics

# isort: split
from torch import nn

from casc_det.errors import ArgumentError
from casc_det.graph import SpikingGraph
from casc_det.graph.file import load_graph
from casc_det.neurons.activation import CQReLU
from casc_det.neurons.functions import function_of
from casc_det.yolo.checkpoint import read_checkpoint
from casc_det.yolo.install import ACTIVATIONS, KEEP, RELU, REPLACED, cq_sites
from casc_det.yolo.weights import is_spiking


class Start(NamedTuple):
    """functions: those of its sites, each once. quantised: how, `KEEP` or `RELU`, where they are quantised already."""

    functions: list[str]
    quantised: str | None = None


def check_activation(asked: Any) -> None:
    """Raise ArgumentError where `activation` names nothing that a network could have."""
    if asked in ACTIVATIONS:
        return
    try:
        function_of(asked)
    except ArgumentError as error:
        raise ArgumentError(f"{error}; or {KEEP}, what the network has") from error


def start_of(network: nn.Module, weights: str | Path | None = None, trust: bool = False) -> Start:
    """What a training of `network` starts from: where it has no CQ of its own, from the `weights` of a file if any."""
    if not weights or cq_sites(network):
        return _functions(network)
    if is_spiking(weights):
        return _functions(load_graph(weights))
    return _functions(read_checkpoint(weights, trust) if Path(weights).suffix == ".pt" else network)


def _functions(start: nn.Module | SpikingGraph) -> Start:
    if isinstance(start, SpikingGraph):
        return Start(start.functions, RELU if start.functions == ["relu"] else KEEP)
    if sites := cq_sites(start):
        found = list(dict.fromkeys(site.function for site in sites))
        return Start(found, RELU if isinstance(sites[0], CQReLU) else KEEP)
    children = (child for module in start.modules() for child in module.children() if type(child) in REPLACED)
    return Start(list(dict.fromkeys(REPLACED[type(child)](child) for child in children)))


def settled(asked: str | None, start: Start) -> str:
    """`KEEP` or `RELU`: what a network gets.

    Raises:
        ArgumentError: what is asked for is not what training starts from.
    """
    functions, quantised = start
    choices = (KEEP,) if quantised else ACTIVATIONS  # a network that was trained with some stays with them
    if asked not in (None, *choices) and functions != [asked]:
        network = f"a network of {'quantised ' if quantised else ''}{', '.join(functions)}"
        raise ArgumentError(f"activation: expected {' or '.join(choices)} for {network}, got {asked}")
    return quantised or (RELU if asked in (None, RELU) else KEEP)
