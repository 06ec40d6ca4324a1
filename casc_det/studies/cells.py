"""The cells of a study with their networks: loaded, rounded to integers, and told apart by content, not by path."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from casc_det.conversion.integer import to_integer, with_levels
from casc_det.errors import WeightsError
from casc_det.graph import SpikingGraph, moved
from casc_det.graph.file import fingerprint, load_graph
from casc_det.graph.zoo import find
from casc_det.simulation import SimulationSettings, Simulator, exact_dtype
from casc_det.studies.records import variant_of
from casc_det.studies.variants import Variant


@dataclass(frozen=True, eq=False)
class Cell:
    """A variant, ready to be run.

    Attributes:
        variant: with what its file recommends where nothing was asked for.
        key: the name of the cell. graph: an integer graph whose dtype holds all steps exactly.
        fingerprint: a hash of what the graph holds.
    """

    variant: Variant
    key: str
    graph: SpikingGraph
    fingerprint: str

    @cached_property
    def simulator(self) -> Simulator:
        """The graph made ready once for all images."""
        return Simulator(self.graph, self.variant.simulation)

    @property
    def activation(self) -> str:
        """What its neurons follow: the names of all functions."""
        return " + ".join(self.graph.functions)

    @property
    def recommended(self) -> bool:
        """Whether it is simulated as its file recommends."""
        return self.variant.simulation == resolved(SimulationSettings(), self.graph)


def resolved(simulation: SimulationSettings, graph: SpikingGraph) -> SimulationSettings:
    """Settings with what the file of a graph recommends; without the ramp rule where no neuron has a table for it.

    Raises:
        ArgumentError: the graph cannot be simulated so.
    """
    simulation = simulation.of(graph)
    return replace(simulation, ramp=bool(simulation.ramp) and graph.functions != ["relu"])


class CellLoader:
    """Loads each graph once. last: the last time step that is simulated."""

    def __init__(self, last: int, device: torch.device) -> None:
        self.last, self.device = last, device
        self.files: dict[tuple, tuple[SpikingGraph, str]] = {}
        self.graphs: dict[tuple, SpikingGraph] = {}

    def load(self, variant: Variant) -> Cell:
        """The cell of a variant.

        Raises:
            WeightsError: its graph cannot be loaded. ConversionError: it cannot be rounded. ArgumentError: it cannot be
                simulated so.
        """
        file = (variant.weights, variant.levels)
        if file not in self.files:
            graph = load_graph(find(variant.weights), torch.float64)
            graph = to_integer(with_levels(graph, variant.levels or graph.levels))
            self.files[file] = graph, fingerprint(graph)
        graph, content = self.files[file]
        variant = replace(variant, simulation=resolved(variant.simulation, graph))
        place = (*file, exact_dtype(graph, self.last, variant.simulation))
        if place not in self.graphs:
            self.graphs[place] = moved(graph, place[-1], self.device)
        return Cell(variant, variant.key(content), self.graphs[place], content)

    def at_hand(self, record: dict) -> Cell | None:
        """The cell of a record, where the graph that it was made with is still where it was."""
        try:
            cell = self.load(variant_of(record))
        except WeightsError:
            return None
        return cell if cell.fingerprint == record["made"]["graph"] else None
