"""How near a converted network is to the float network that it was made of, on images that it was not fitted to."""

from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel

from casc_det import graph as g
from casc_det.heads.detect.decode import DetectHead
from casc_det.heads.detect.detections import common
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.neurons.activation import CQ
from casc_det.simulation.twin import ann_forward
from casc_det.yolo.calibrate import observed
from casc_det.yolo.float_network import maps_of
from casc_det.yolo.network import head_of, raw_outputs
from casc_det.yolo.trace import modules_of, trace

EQUAL_IOU = 0.9  # of boxes of one class that are called equal


class Fidelity:
    """Errors of the ANN of a graph against the float network, added up image by image.

    Args:
        graph: of `model`. model: its CQ sites know their old activations, with which it is the float network.
    """

    def __init__(self, graph: g.SpikingGraph, model: DetectionModel) -> None:
        self.graph, self.model = graph, model
        modules = modules_of(trace(model))
        self.clips = {node.name: node.lam / node.levels for node in graph.of_type(g.Neuron)}
        self.names = {modules[name]: name for name in self.clips}
        self.sums: dict[str, tuple[float, float]] = {}  # of squares, by layer: of the error, of the float network
        self.boxes = self.equal = 0

    def add(self, image: torch.Tensor) -> None:
        """Look at an image (1, 3, H, W)."""
        kept: dict[str, torch.Tensor] = {}

        def observe(site: CQ, z: torch.Tensor) -> torch.Tensor:
            kept[self.names[site]] = a = site.unquantised(z)
            return a

        with torch.no_grad(), observed(self.model, observe):
            raw = raw_outputs(self.model(image), one2one=head_of(self.model).end2end)
            readout = maps_of(raw, image, self.graph.strides)
        ann = ann_forward(self.graph, image.to(self.graph.dtype))
        for name, counts in ann.counts.items():
            self._add(name, counts * self.clips[name], kept[name])
        for name, value in ann.readout.items():
            self._add(name, value, readout[name])
        head = DetectHead.of(self.graph)
        (first,), (second,) = (head.answers(x, DetectionSettings()) for x in (readout, ann.readout))
        self.boxes += len(first) + len(second)
        self.equal += 2 * common(first, second, EQUAL_IOU)

    def _add(self, name: str, value: torch.Tensor, expected: torch.Tensor) -> None:
        error, square = self.sums.get(name, (0.0, 0.0))
        gap = (value.double() - expected.double()).square().sum().item()
        self.sums[name] = (error + gap, square + expected.double().square().sum().item())

    def report(self) -> dict[str, Any]:
        """As JSON values: the relative error sqrt(sum (x - y)^2 / sum y^2) of the whole readout and of each layer, and
        the share of boxes that both show (None: neither shows any)."""
        relative = lambda error, square: (error / square) ** 0.5 if square else 0.0
        readouts = [self.sums[node.name] for node in self.graph.of_type(g.Readout)]
        return {
            "readout_error": round(relative(*map(sum, zip(*readouts, strict=True))), 5),
            "equal_boxes": round(self.equal / self.boxes, 4) if self.boxes else None,
            "layers": {name: round(relative(*sums), 5) for name, sums in self.sums.items()},
        }
