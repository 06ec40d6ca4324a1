"""The result of a cell: the traces of all its images, averaged and scored at every time step."""

from dataclasses import dataclass

import numpy as np

from casc_det.evaluation.bootstrap import bootstrap_gap
from casc_det.evaluation.classes import ClassMap, mapped
from casc_det.evaluation.coco import CocoCurve
from casc_det.evaluation.energy import EnergyModel, energy_mj
from casc_det.heads.detect.detections import Detections
from casc_det.heads.policies import Policy
from casc_det.simulation.cost import Operations
from casc_det.studies.traces import SHOWN, Trace

ENOUGH = (0.99, 1.0)  # shares of the ANN's mAP that a summary asks for
LEAST_MAP = 0.01  # of the ANN: below it nothing is concluded, since next to nothing is detected
ERROR_POINTS = (1.0, 1.25, 1.5, 2.0)  # in Q: where the error of each layer is kept, image by image
DRAWS = 500  # of the images, for the intervals of the gap to the ANN


@dataclass(frozen=True)
class Scorer:
    """How cells are scored.

    Attributes:
        steps: those of the curves. policies: rules of early exit.
        classes: from the model's to the data set's. score: mAP50-95 and mAP50 of detections of all images.
    """

    steps: tuple[int, ...]
    policies: tuple[Policy, ...]
    energy: EnergyModel
    classes: ClassMap
    score: CocoCurve

    def mapped(self, found: list[Detections]) -> list[Detections]:
        """Detections of each image in the classes of the data set."""
        return [mapped(one, self.classes) for one in found]

    def accuracy(self, found: list[Detections]) -> tuple[float, float]:
        """mAP50-95 and mAP50 of detections of each image."""
        return self.score(self.mapped(found))


def build_result(traces: list[Trace], work: Operations, levels: int, first: int, scorer: Scorer) -> dict:
    """The figures of a cell as JSON values.

    Args:
        work: operations of an image. levels: Q. first: the step from which on policies may stop.
    """
    of_ann = [Detections.of_table(trace.ann) for trace in traces]
    ann, ann_macs = scorer.accuracy(of_ann), float(work.ann_macs)
    result = {
        "levels": levels,
        "pictures": len(traces),
        "ann": {
            "mAP50-95": ann[0],
            "mAP50": ann[1],
            "energy_mJ": energy_mj(ann_macs, 0, scorer.energy),
            "macs": ann_macs,
        },
        "curves": curves(traces, work, levels, scorer),
        "layers": layers(traces, work, levels, scorer.steps),
        "steps_to_rest": [int(trace.rest) for trace in traces],
        "policies": [
            policy_point(traces, work, levels, policy, first, scorer) for policy in dict.fromkeys(scorer.policies)
        ],
        "seconds": {
            name: float(sum(trace.seconds[:, i].sum() for trace in traces))
            for i, name in enumerate(("simulation", "readouts", "errors", "boxes"))
        },
    }
    marked = {smallest_step(result, share, kept) for share in ENOUGH for kept in (False, True)} - {None}
    outcomes = {"ann": scorer.score.outcomes(scorer.mapped(of_ann))}
    for t in sorted(t for t in marked if t is not None):
        outcomes[str(t)] = scorer.score.outcomes(scorer.mapped([trace.at(t) for trace in traces]))
    return result | {"gap_95": {t: list(interval) for t, interval in bootstrap_gap(outcomes, "ann", DRAWS).items()}}


def mean_of(traces: list[Trace], name: str, steps: range) -> np.ndarray:
    """The mean over the images of an array of the traces, by step."""
    return np.mean([trace.values(name, steps) for trace in traces], 0)


def curves(traces: list[Trace], work: Operations, levels: int, scorer: Scorer) -> dict[str, list]:
    """What changes with time, at each of the steps `T`; of all layers together, as means over the images."""
    steps = scorer.steps
    chosen, everyone = np.array(steps) - 1, range(1, steps[-1] + 1)
    mean = {
        name: mean_of(traces, name, everyone) for name in ("sent", "taken_back", "sops", "seconds", "more", "fewer")
    }
    fired, sops = mean["sent"] + mean["taken_back"], mean["sops"].cumsum()[chosen]
    scores = scored_steps(traces, scorer)
    return {
        "T": list(steps),
        "mAP50-95": [s[0] for s in scores],
        "mAP50": [s[1] for s in scores],
        "at_rest": [float(np.mean([trace.at_rest(t) for trace in traces])) for t in steps],
        "firing_rate": (fired.sum(1)[chosen] / work.neurons).tolist(),
        "spikes": fired.cumsum(0)[chosen].sum(1).tolist(),
        "taken_back": mean["taken_back"].cumsum(0)[chosen].sum(1).tolist(),
        "sops": sops.tolist(),
        "energy_mJ": [energy_mj(work.snn_macs(t, levels), s, scorer.energy) for t, s in zip(steps, sops, strict=True)],
        "seconds": mean["seconds"][:, 0].cumsum()[chosen].tolist(),
        "mse": mean_of(traces, "mse", everyone)[chosen].tolist(),
        "relative_error": mean_of(traces, "relative_error", everyone)[chosen].tolist(),
        "more": (mean["more"][chosen].sum(1) / work.neurons).tolist(),
        "fewer": (mean["fewer"][chosen].sum(1) / work.neurons).tolist(),
    }


def layers(traces: list[Trace], work: Operations, levels: int, steps: tuple[int, ...]) -> dict:
    """What each neuron layer does, at each of the steps; as means over the images."""
    chosen, everyone = np.array(steps) - 1, range(1, steps[-1] + 1)
    fired = mean_of(traces, "sent", everyone) + mean_of(traces, "taken_back", everyone)
    return {
        "names": list(work.layers),
        "neurons": list(work.layers.values()),
        "ann_counts": np.mean([trace.ann_counts for trace in traces], 0).tolist(),
        "spikes": fired.cumsum(0)[chosen].T.tolist(),
        "more": mean_of(traces, "more", everyone)[chosen].T.tolist(),
        "fewer": mean_of(traces, "fewer", everyone)[chosen].T.tolist(),
        "error": layer_errors(traces, levels, steps[-1]),
    }


def scored_steps(traces: list[Trace], scorer: Scorer) -> list[tuple[float, float]]:
    """The scores at each step; where no image's detections changed since the last one, they are not made again."""
    results: list[tuple[float, float]] = []
    last = max(len(trace.sops) for trace in traces)
    for before, t in zip((0, *scorer.steps), scorer.steps, strict=False):
        same = results and before >= last
        results.append(results[-1] if same else scorer.accuracy([trace.at(t) for trace in traces]))
    return results


def layer_errors(traces: list[Trace], levels: int, last: int) -> dict[str, list]:
    """(L, images) sum of count differences over the sum of the ANN's counts, for each of `ERROR_POINTS` up to `last`,
    the last step that was simulated."""
    points = [t for t in (max(round(share * levels), 1) for share in ERROR_POINTS) if t <= last]
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


def policy_point(
    traces: list[Trace], work: Operations, levels: int, policy: Policy, first: int, scorer: Scorer
) -> dict:
    """What a policy reaches and costs."""
    exits = [exit_step(trace, policy, first, scorer.steps[-1]) for trace in traces]
    ended = [(trace, t) for trace, (t, _) in zip(traces, exits, strict=True)]
    reached = scorer.accuracy([trace.at(t) for trace, t in ended])
    sops = [trace.sops[:t].sum() for trace, t in ended]
    spent = [energy_mj(work.snn_macs(t, levels), s, scorer.energy) for (_, t), s in zip(ended, sops, strict=True)]
    return {
        "policy": str(policy),
        "mAP50-95": reached[0],
        "mAP50": reached[1],
        "T_mean": float(np.mean([t for t, _ in exits])),
        "T_largest": max(t for t, _ in exits),
        "at_rest": float(np.mean([trace.at_rest(t) for trace, t in ended])),
        "energy_mJ": float(np.mean(spent)),
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
