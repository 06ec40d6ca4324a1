"""A batch of images through the spiking network, each to the step at which it may stop."""

from time import perf_counter

import torch

from casc_det.graph import SpikingGraph
from casc_det.heads.detect.decode import Detections, DetectionSettings, decode_maps, detect
from casc_det.heads.detect.policies import Policy
from casc_det.simulation import PLAIN, SimulationSettings, first_answer, simulate
from casc_det.simulation.tally import Tally


def run_batch(
    graph: SpikingGraph,
    images: torch.Tensor,
    timesteps: int | str,
    settings: DetectionSettings,
    policy: Policy,
    simulation: SimulationSettings = PLAIN,
) -> tuple[list[Detections], list, float]:
    """Detections and `SpikingInfo` of each image, and the seconds spent on boxes.

    Args:
        images: (B, 3, H, W) in 0..1. policy: looked at with timesteps="auto" only; "quiescent" needs no boxes.
        simulation: see `simulate`.
    """
    tally, deciding = Tally(len(images)), 0.0
    found, infos = [None] * len(images), [None] * len(images)
    watches = None
    if policy.kind != "quiescent":
        first = first_answer(graph, simulation)
        watches = [policy.watch(first) for _ in images]

    def look(step) -> None:
        boxes, scores = decode_maps(step.readout, graph.strides, graph.reg_max)
        for i in range(len(images)):
            if infos[i] is None:
                found[i] = detect(boxes[i], scores[i], settings)

    for step in simulate(graph, images, timesteps, simulation):
        tally.add(step)
        if watches is None:
            continue
        start, rests = perf_counter(), step.quiescent.tolist()
        look(step)
        for i, watch in enumerate(watches):
            if infos[i] is None and watch.stop(step.t, found[i].boxes, found[i].scores, found[i].labels, rests[i]):
                infos[i] = tally.info(i, step.t)
        deciding += perf_counter() - start
        if None not in infos:
            break
    start = perf_counter()
    look(step)
    return found, [info or tally.info(i) for i, info in enumerate(infos)], deciding + perf_counter() - start
