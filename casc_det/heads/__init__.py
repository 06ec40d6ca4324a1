"""What becomes of the readout: a head for each task, which is a module of its name in this folder.

Such a module has `head(network)`. The task of a network is that of its readouts, see `casc_det.graph.ops.readout`.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    from casc_det.graph import SpikingGraph
    from casc_det.heads.detect.settings import DetectionSettings


class Answer(Protocol):
    """What a head gives for an image: `heads.policies` ask whether it stands, `yolo.results` shows it."""

    def unchanged(self, before: Any) -> bool:
        """Whether it shows the same as an earlier answer to the image."""

    def certain(self, score: float) -> bool:
        """Whether it shows something, all of it with at least this score."""

    def fields(self, place: Callable[["np.ndarray"], "np.ndarray"]) -> dict[str, "np.ndarray"]:
        """Its arrays by the names that Ultralytics' `Results` have for them.

        Args:
            place: from boxes (N, 4) in pixels of the network's input to those of the image that is shown.
        """


class Head(Protocol):
    """Makes answers of readouts."""

    def answers(
        self, readout: dict[str, "torch.Tensor"], settings: "DetectionSettings", of: Iterable[int] | None = None
    ) -> Sequence[Answer]:
        """The answer to each image of a batch; of: the images that are asked for, None: all."""


def head_of(graph: "SpikingGraph") -> Head:
    """The head of a network; each graph that passed `graph.validate` has one. Imported here, as it imports torch."""
    return import_module(f"casc_det.heads.{graph.task}").head(graph)
