"""A batch of images through the spiking network, each to the step at which it may stop."""

from time import perf_counter

import torch

from casc_det.heads import Answer, head_of
from casc_det.heads.detect.settings import DetectionSettings
from casc_det.heads.policies import Policy
from casc_det.simulation import Simulator, first_answer
from casc_det.simulation.step import SpikingInfo, Tally


def run_batch(
    simulator: Simulator,
    images: torch.Tensor,
    timesteps: int | str,
    settings: DetectionSettings,
    policy: Policy,
) -> tuple[list[Answer], list[SpikingInfo], float]:
    """The answer and `SpikingInfo` of each image, and the seconds spent on answers.

    Args:
        images: (B, 3, H, W) in 0..1. policy: looked at with timesteps="auto" only; "quiescent" needs no answers.
    """
    head, deciding = head_of(simulator.graph), 0.0
    tally = Tally(simulator.graph, simulator.settings, len(images))
    answers: dict[int, Answer] = {}
    infos: dict[int, SpikingInfo] = {}
    going = list(range(len(images)))
    watches = []
    if policy.kind != "quiescent":
        first = first_answer(simulator.graph, simulator.settings)
        watches = [policy.watch(first) for _ in images]
    for step in simulator.run(images, timesteps):
        tally.add(step)
        if not watches:
            continue
        start, rests = perf_counter(), step.quiescent.tolist()
        answers |= zip(going, head.answers(step.readout, settings, going), strict=True)
        infos |= {i: tally.info(i, step.t) for i in going if watches[i].stop(step.t, answers[i], rests[i])}
        going = [i for i in going if i not in infos]
        deciding += perf_counter() - start
        if not going:
            break
    start = perf_counter()
    if going:
        answers |= zip(going, head.answers(step.readout, settings, going), strict=True)
        infos |= {i: tally.info(i) for i in going}
    every = range(len(images))
    return [answers[i] for i in every], [infos[i] for i in every], deciding + perf_counter() - start
