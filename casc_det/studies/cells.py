"""The cells of a study with their networks: loaded, rounded to integers, and told apart by content, not by path."""

from dataclasses import dataclass
from functools import cached_property

import torch

from casc_det.conversion.integer import to_integer, with_levels
from casc_det.errors import WeightsError
from casc_det.graph import SpikingGraph, moved
from casc_det.graph.file import fingerprint, load_graph
from casc_det.graph.zoo import find
from casc_det.simulation import Simulator, exact_dtype
from casc_det.studies.records import variant_of
from casc_det.studies.variants import Variant


@dataclass(frozen=True, eq=False)
class Cell:
    """A variant, ready to be run.

    Attributes:
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


class CellLoader:
    """Loads each graph once. last: the last time step that is simulated."""

    def __init__(self, last: int, device: torch.device) -> None:
        self.last, self.device = last, device
        self.graphs: dict[tuple, tuple[SpikingGraph, str]] = {}

    def load(self, variant: Variant) -> Cell:
        """The cell of a variant.

        Raises:
            WeightsError: its graph cannot be loaded. ConversionError: it cannot be rounded.
        """
        key = (variant.weights, variant.levels, variant.simulation.neuron, variant.simulation.schedule)
        if key not in self.graphs:
            graph = load_graph(find(variant.weights), torch.float64)
            graph = to_integer(with_levels(graph, variant.levels or graph.levels))
            dtype = exact_dtype(graph, self.last, variant.simulation)
            self.graphs[key] = moved(graph, dtype, self.device), fingerprint(graph)
        graph, content = self.graphs[key]
        return Cell(variant, variant.key(content), graph, content)

    def at_hand(self, record: dict) -> Cell | None:
        """The cell of a record, where the graph that it was made with is still where it was."""
        try:
            cell = self.load(variant_of(record))
        except WeightsError:
            return None
        return cell if cell.fingerprint == record["made"]["graph"] else None
