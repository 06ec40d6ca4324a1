"""The networks that are scored on a data set, and which of their detections count."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from casc_det.errors import ArgumentError
from casc_det.evaluation.classes import ClassMap, few, match_classes
from casc_det.graph import SpikingGraph
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.simulation import Simulator

if TYPE_CHECKING:
    from casc_det.yolo.float_network import FloatNetwork

SCORING = DetectionSettings(conf=0.001, multi_label=True)  # as Ultralytics validates


def scoring(classes: ClassMap) -> DetectionSettings:
    """How detections are made that are to be scored, by `val` and `study` alike.

    Classes that the data set does not have are dropped first, then the best 300 of each image are kept.
    """
    return replace(SCORING, classes=tuple(np.flatnonzero(classes.label_of >= 0).tolist()))


@dataclass(frozen=True)
class Networks:
    """A spiking graph, which is also the ANN, and a float network; with the classes of each in the data set.

    Attributes:
        simulator: of the spiking graph.
        maps: of the rows "snn" (and "ann"), and "float" where there is one.
    """

    simulator: Simulator
    floats: "FloatNetwork | None"
    maps: dict[str, ClassMap]

    @classmethod
    def matched(
        cls,
        simulator: Simulator,
        floats: "FloatNetwork | None",
        names: list[str],
        mapping: Mapping[str, str | list[str]] | None,
    ) -> "Networks":
        """The networks with their classes matched to `names` of the data set, see `match_classes`.

        Raises:
            ArgumentError: they cannot be matched, or the two networks know other classes of the data set.
        """
        maps = {"snn": match_classes(simulator.graph.names, names, mapping)}
        if floats is not None:
            maps["float"] = match_classes(floats.names, names, mapping, "against=")
            if maps["float"].missing != maps["snn"].missing:
                only = [name for name in names if (name in maps["float"].missing) != (name in maps["snn"].missing)]
                raise ArgumentError(
                    "against: the float network knows other classes of the data set than the spiking one "
                    f"({few(only)} only one of them)"
                )
        return cls(simulator, floats, maps)

    @property
    def graph(self) -> SpikingGraph:
        """The spiking graph."""
        return self.simulator.graph

    def scoring(self, row: str) -> DetectionSettings:
        """Which detections of a row are kept."""
        return scoring(self.maps["float" if row == "float" else "snn"])
