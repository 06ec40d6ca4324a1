"""One cell of a study: the traces of all pictures of a variant, averaged and scored at every time step."""

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
ERROR_POINTS = (1.0, 1.25, 1.5, 2.0)  # in Q: where the error of each layer is kept, picture by picture

DRAWS = 500  # of the pictures, for the intervals of the gap to the ANN


def build_cell(
    traces: list[Trace],
    operations: list[Operations],
    levels: int,
    layers: dict[str, int],
    first: int,
    steps: list[int],
    policies: list[Policy],
    classes: ClassMap,
    score: CocoCurve,
    energy: EnergyModel,
) -> dict:
    """The figures of a cell as JSON values.

    Args:
        operations: of each picture's network input. layers: names of the neuron layers and how many neurons they have.
        first: the step from which on policies may stop. steps: those of the curves.
        classes: from the model's to the data set's.
    """
    everyone = list(range(1, steps[-1] + 1))
    chosen = np.array(steps) - 1
    mean = lambda name: np.mean([trace.values(name, everyone) for trace in traces], 0)
    sent, taken, sops = mean("sent"), mean("taken_back"), mean("sops")
    neurons = np.mean([work.neurons for work in operations])
    macs = np.mean([[work.snn_macs(t, levels) for t in steps] for work in operations], 0)
    scores = scored_steps(traces, steps, classes, score)
    cumulated = (sent + taken).cumsum(0)[chosen]
    curves = {
        "T": steps,
        "mAP50-95": [s[0] for s in scores],
        "mAP50": [s[1] for s in scores],
        "at_rest": [float(np.mean([0 < trace.rest <= t for trace in traces])) for t in steps],
        "firing_rate": ((sent + taken).sum(1)[chosen] / neurons).tolist(),
        "spikes": cumulated.sum(1).tolist(),
        "taken_back": taken.cumsum(0)[chosen].sum(1).tolist(),
        "sops": sops.cumsum()[chosen].tolist(),
        "energy_mJ": [energy_mj(m, s, energy) for m, s in zip(macs, sops.cumsum()[chosen], strict=True)],
        "seconds": mean("seconds")[:, 0].cumsum()[chosen].tolist(),
        "mse": mean("mse")[chosen].tolist(),
        "relative_error": mean("relative_error")[chosen].tolist(),
        "more": (mean("more")[chosen].sum(1) / neurons).tolist(),
        "fewer": (mean("fewer")[chosen].sum(1) / neurons).tolist(),
    }
    of_ann = [mapped(Detections.of_table(trace.ann), classes) for trace in traces]
    ann = score(of_ann)
    ann_macs = float(np.mean([work.ann_macs for work in operations]))
    exits = {str(policy): exit_steps(traces, policy, first, steps[-1]) for policy in policies}
    cell = {
        "levels": levels,
        "pictures": len(traces),
        "ann": {"mAP50-95": ann[0], "mAP50": ann[1], "energy_mJ": energy_mj(ann_macs, 0, energy), "macs": ann_macs},
        "curves": curves,
        "layers": {
            "names": list(layers),
            "neurons": list(layers.values()),
            "ann_counts": np.mean([trace.ann_counts for trace in traces], 0).tolist(),
            "spikes": cumulated.T.tolist(),
            "more": mean("more")[chosen].T.tolist(),
            "fewer": mean("fewer")[chosen].T.tolist(),
            "error": layer_errors(traces, levels, steps[-1]),
        },
        "steps_to_rest": [int(trace.rest) for trace in traces],
        "policies": [
            {
                "policy": name,
                **policy_point(traces, operations, levels, at, classes, score, energy),
                "stopped": float(np.mean(stopped)),
            }
            for name, (at, stopped) in exits.items()
        ],
        "seconds": {
            name: float(sum(trace.seconds[:, i].sum() for trace in traces))
            for i, name in enumerate(("simulation", "readouts", "errors", "boxes"))
        },
    }
    marked = {smallest_step(cell, share, kept) for share in ENOUGH for kept in (False, True)} - {None}
    rows = {t: score.outcomes([mapped(trace.at(t), classes) for trace in traces]) for t in sorted(marked)}
    gaps = bootstrap_gap({"ann": score.outcomes(of_ann), **rows}, "ann", DRAWS)
    return cell | {"gap_95": {str(t): list(interval) for t, interval in gaps.items()}}


def scored_steps(
    traces: list[Trace], steps: list[int], classes: ClassMap, score: CocoCurve
) -> list[tuple[float, float]]:
    """The scores at each step; where no picture's detections changed since the last one, they are not made again."""
    results = []
    for k, t in enumerate(steps):
        last = max(len(trace.sops) for trace in traces)
        if k and steps[k - 1] >= last:
            results.append(results[-1])
        else:
            results.append(score([mapped(trace.at(t), classes) for trace in traces]))
    return results


def layer_errors(traces: list[Trace], levels: int, last: int) -> dict[str, list]:
    """(L, pictures) sum of count differences over the sum of the ANN's counts, for each of `ERROR_POINTS` up to `last`,
    the last step that was simulated."""
    result = {}
    for share in ERROR_POINTS:
        t = max(round(share * levels), 1)
        if t > last:
            break
        gaps = np.stack([trace.values("count_gap", [t])[0] for trace in traces], 1)
        totals = np.stack([trace.ann_counts for trace in traces], 1)
        result[str(t)] = (gaps / np.maximum(totals, 1)).tolist()
    return result


def exit_steps(traces: list[Trace], policy: Policy, first: int, last: int) -> tuple[list[int], list[bool]]:
    """The step at which each picture stops under a policy, at most `last`, and whether the policy stopped it."""
    steps, stopped = [], []
    for trace in traces:
        watch = policy.watch(first)
        for t in range(1, last + 1):
            found = trace.at(t)
            stops = watch.stop(t, found[found.scores >= SHOWN], bool(0 < trace.rest <= t))
            if stops:
                break
        steps.append(t)
        stopped.append(stops)
    return steps, stopped


def policy_point(
    traces, operations, levels: int, at: list[int], classes, score: CocoCurve, energy: EnergyModel
) -> dict:
    """What a policy reaches and costs."""
    reached = score([mapped(trace.at(t), classes) for trace, t in zip(traces, at, strict=True)])
    sops = [trace.sops[:t].sum() for trace, t in zip(traces, at, strict=True)]
    macs = [work.snn_macs(t, levels) for work, t in zip(operations, at, strict=True)]
    spent = [energy_mj(m, s, energy) for m, s in zip(macs, sops, strict=True)]
    return {
        "mAP50-95": reached[0],
        "mAP50": reached[1],
        "T_mean": float(np.mean(at)),
        "T_largest": int(max(at)),
        "at_rest": float(np.mean([0 < trace.rest <= t for trace, t in zip(traces, at, strict=True)])),
        "energy_mJ": float(np.mean(spent)),
        "sops": float(np.mean(sops)),
    }


def smallest_step(cell: dict, share: float, kept: bool = True) -> int | None:
    """The first step with `share` of the ANN's mAP50-95; kept: and with no less at all later steps.

    None: at none of the steps, or the ANN itself is below `LEAST_MAP`, so that there is nothing to be reached.
    """
    if cell["ann"]["mAP50-95"] < LEAST_MAP:
        return None
    goal = share * cell["ann"]["mAP50-95"] - 1e-12
    reached = np.array(cell["curves"]["mAP50-95"]) >= goal
    if kept:
        reached = np.logical_and.accumulate(reached[::-1])[::-1]
    return cell["curves"]["T"][int(reached.argmax())] if reached.any() else None
