"""The result of a cell: the traces of all its images, averaged and scored at every time step."""

from dataclasses import dataclass

import numpy as np

from casc_det.evaluation.bootstrap import bootstrap_gap
from casc_det.evaluation.classes import ClassMap, mapped
from casc_det.evaluation.coco import CocoCurve
from casc_det.evaluation.energy import ann_costs, energy_mj
from casc_det.heads.detect.detections import Detections
from casc_det.heads.policies import Policy
from casc_det.neurons.schedule import Schedule
from casc_det.simulation.cost import Operations
from casc_det.simulation.step import payload_bits
from casc_det.studies.settings import StudySettings
from casc_det.studies.traces import SHOWN, Trace

ENOUGH = (0.99, 1.0)  # shares of the ANN's mAP that a summary asks for
LEAST_MAP = 0.01  # of the ANN: below it nothing is concluded, since next to nothing is detected
ERROR_POINTS = (1.0, 1.25, 1.5, 2.0)  # in steps of wake: where the error of each layer is kept, image by image
# of a `Trace`
AVERAGED = ("sent", "taken_back", "messages", "sops", "seconds", "more", "fewer", "mse", "relative_error")
DRAWS = 500  # of the images, for the intervals of the gap to the ANN


@dataclass(frozen=True)
class Scorer:
    """How a cell is scored, and what its network costs.

    Attributes:
        settings: time steps, policies, energy. classes: from the model's to the data set's.
        score: mAP50-95 and mAP50 of detections of all images. work: operations of an image.
        plan: the schedule. first: the step from which on policies may stop.
    """

    settings: StudySettings
    classes: ClassMap
    score: CocoCurve
    work: Operations
    plan: Schedule
    first: int

    @property
    def last(self) -> int:
        """The last step that was simulated."""
        return self.settings.timesteps[-1]

    @property
    def bits(self) -> int:
        """Those of a message."""
        return payload_bits(self.plan.burst)

    def mapped(self, found: list[Detections]) -> list[Detections]:
        """Detections of each image in the classes of the data set."""
        return [mapped(one, self.classes) for one in found]

    def accuracy(self, found: list[Detections]) -> tuple[float, float]:
        """mAP50-95 and mAP50 of detections of each image."""
        return self.score(self.mapped(found))

    def energy(self, t: int, sops: float) -> float:
        """Millijoules of `t` steps with so many synaptic operations."""
        return energy_mj(self.work.snn_macs(t, self.plan.wake), sops, self.settings.energy)


def build_result(traces: list[Trace], scorer: Scorer) -> dict:
    """The figures of a cell as JSON values."""
    steps = range(1, scorer.last + 1)
    means = {name: np.mean([trace.values(name, steps) for trace in traces], 0) for name in AVERAGED}
    of_ann = [Detections.of_table(trace.ann) for trace in traces]
    ann, costs = scorer.accuracy(of_ann), ann_costs([scorer.work], scorer.settings.energy)
    result = {
        "levels": scorer.plan.levels,
        "pictures": len(traces),
        "ann": {"mAP50-95": ann[0], "mAP50": ann[1], "energy_mJ": costs["energy_mJ"], "macs": costs["macs"]},
        "curves": curves(traces, means, scorer),
        "layers": layers(traces, means, scorer),
        "steps_to_rest": [int(trace.rest) for trace in traces],
        "policies": [policy_point(traces, policy, scorer) for policy in dict.fromkeys(scorer.settings.policies)],
        "seconds": {
            name: float(sum(trace.seconds[:, i].sum() for trace in traces))
            for i, name in enumerate(("simulation", "readouts", "errors", "boxes"))
        },
        "wake": scorer.plan.input_steps,
        "bits_a_message": scorer.bits,
    }
    marked = {smallest_step(result, share, kept) for share in ENOUGH for kept in (False, True)}
    outcomes = {"ann": scorer.score.outcomes(scorer.mapped(of_ann))}
    for t in sorted(t for t in marked if t is not None):
        outcomes[str(t)] = scorer.score.outcomes(scorer.mapped([trace.at(t) for trace in traces]))
    return result | {"gap_95": {t: list(interval) for t, interval in bootstrap_gap(outcomes, "ann", DRAWS).items()}}


def curves(traces: list[Trace], means: dict[str, np.ndarray], scorer: Scorer) -> dict[str, list]:
    """What changes with time, at each of the steps `T`; of all layers together, as means over the images."""
    steps, neurons = scorer.settings.timesteps, scorer.work.neurons
    chosen = np.array(steps) - 1
    fired, sops = means["sent"] + means["taken_back"], means["sops"].cumsum()[chosen]
    messages = means["messages"].cumsum(0)[chosen].sum(1)
    scores = scored_steps(traces, scorer)
    return {
        "T": list(steps),
        "mAP50-95": [s[0] for s in scores],
        "mAP50": [s[1] for s in scores],
        "at_rest": [float(np.mean([trace.at_rest(t) for trace in traces])) for t in steps],
        "firing_rate": (fired.sum(1)[chosen] / neurons).tolist(),
        "spikes": fired.cumsum(0)[chosen].sum(1).tolist(),
        "taken_back": means["taken_back"].cumsum(0)[chosen].sum(1).tolist(),
        "sops": sops.tolist(),
        "energy_mJ": [scorer.energy(t, s) for t, s in zip(steps, sops, strict=True)],
        "seconds": means["seconds"][:, 0].cumsum()[chosen].tolist(),
        "mse": means["mse"][chosen].tolist(),
        "relative_error": means["relative_error"][chosen].tolist(),
        "more": (means["more"][chosen].sum(1) / neurons).tolist(),
        "fewer": (means["fewer"][chosen].sum(1) / neurons).tolist(),
        "messages": messages.tolist(),
        "payload_bits": (messages * scorer.bits).tolist(),
    }


def layers(traces: list[Trace], means: dict[str, np.ndarray], scorer: Scorer) -> dict:
    """What each neuron layer does, at each of the steps; as means over the images."""
    chosen = np.array(scorer.settings.timesteps) - 1
    return {
        "names": list(scorer.work.layers),
        "neurons": list(scorer.work.layers.values()),
        "ann_counts": np.mean([trace.ann_counts for trace in traces], 0).tolist(),
        "spikes": (means["sent"] + means["taken_back"]).cumsum(0)[chosen].T.tolist(),
        "more": means["more"][chosen].T.tolist(),
        "fewer": means["fewer"][chosen].T.tolist(),
        "error": layer_errors(traces, scorer.plan.input_steps, scorer.last),
        "messages": means["messages"].cumsum(0)[chosen].T.tolist(),
    }


def scored_steps(traces: list[Trace], scorer: Scorer) -> list[tuple[float, float]]:
    """The scores at each step; where no image's detections changed since the last one, they are not made again."""
    results: list[tuple[float, float]] = []
    last, steps = max(len(trace.sops) for trace in traces), scorer.settings.timesteps
    for before, t in zip((0, *steps), steps, strict=False):
        same = results and before >= last
        results.append(results[-1] if same else scorer.accuracy([trace.at(t) for trace in traces]))
    return results


def layer_errors(traces: list[Trace], wake: int, last: int) -> dict[str, list]:
    """(L, images) sum of count differences over the sum of the ANN's counts, both by magnitude, for each of
    `ERROR_POINTS` up to `last`, the last step that was simulated."""
    points = [t for t in (max(round(share * wake), 1) for share in ERROR_POINTS) if t <= last]
    totals = np.stack([np.maximum(trace.ann_counts, 1) for trace in traces], 1)
    gaps = {t: np.stack([trace.values("count_gap", [t])[0] for trace in traces], 1) for t in points}
    return {str(t): (gap / totals).tolist() for t, gap in gaps.items()}


def exit_step(trace: Trace, policy: Policy, first: int, last: int) -> tuple[int, bool]:
    """The step at which an image stops under a policy, at most `last`, and whether the policy stopped it."""
    watch = policy.watch(first)
    for t in range(1, last + 1):
        found = trace.at(t)
        if watch.stop(t, found[found.scores >= SHOWN], trace.at_rest(t)):
            return t, True
    return last, False


def policy_point(traces: list[Trace], policy: Policy, scorer: Scorer) -> dict:
    """What a policy reaches and costs."""
    exits = [exit_step(trace, policy, scorer.first, scorer.last) for trace in traces]
    steps = [t for t, _ in exits]
    reached = scorer.accuracy([trace.at(t) for trace, t in zip(traces, steps, strict=True)])
    sops = [trace.sops[:t].sum() for trace, t in zip(traces, steps, strict=True)]
    return {
        "policy": str(policy),
        "mAP50-95": reached[0],
        "mAP50": reached[1],
        "T_mean": float(np.mean(steps)),
        "T_largest": max(steps),
        "at_rest": float(np.mean([trace.at_rest(t) for trace, t in zip(traces, steps, strict=True)])),
        "energy_mJ": float(np.mean([scorer.energy(t, s) for t, s in zip(steps, sops, strict=True)])),
        "sops": float(np.mean(sops)),
        "stopped": float(np.mean([stopped for _, stopped in exits])),
    }


def smallest_step(result: dict, share: float, kept: bool = True) -> int | None:
    """The first step with `share` of the ANN's mAP50-95; kept: and with no less at all later steps.

    None: at none of the steps, or the ANN itself is below `LEAST_MAP`, so that there is nothing to be reached.
    """
    if result["ann"]["mAP50-95"] < LEAST_MAP:
        return None
    goal = share * result["ann"]["mAP50-95"] - 1e-12
    reached = np.array(result["curves"]["mAP50-95"]) >= goal
    if kept:
        reached = np.logical_and.accumulate(reached[::-1])[::-1]
    return result["curves"]["T"][int(reached.argmax())] if reached.any() else None
