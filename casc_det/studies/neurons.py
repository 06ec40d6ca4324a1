"""Four neurons of one picture, step by step: what CIF does."""

from dataclasses import replace

import torch

from casc_det.graph import Neuron, SpikingGraph
from casc_det.simulation import simulate
from casc_det.simulation.twin import ann_forward
from casc_det.studies.variants import Variant


@torch.no_grad()
def neuron_paths(graph: SpikingGraph, image: torch.Tensor, variant: Variant, limit: int) -> list[dict]:
    """Potential (after the spike, in thresholds) and spikes of four neurons of different depth.

    Taken are the neurons that take back most spikes in four layers, and among those of a layer the first one.

    Args:
        image: (1, 3, H, W). limit: steps at most.
    """
    settings = replace(variant.simulation, engine="reference")
    layers = [node.name for node in graph.of_type(Neuron)]
    chosen = [layers[round(share * (len(layers) - 1))] for share in (0.0, 0.15, 0.45, 0.8)]
    taken = dict.fromkeys(chosen, 0)
    for step in simulate(graph, image, limit, settings, record=True):
        for name in chosen:
            taken[name] = taken[name] + (step.spikes[name][0] < 0).int()
        if bool(step.quiescent.all()):
            break
    places = {name: int(count.argmax()) for name, count in taken.items()}
    thetas = {node.name: node.theta for node in graph.of_type(Neuron)}
    ann = ann_forward(graph, image).counts
    paths = []
    for name, place in places.items():
        channel = place // ann[name][0, 0].numel()
        theta = thetas[name].flatten()[channel] if isinstance(thetas[name], torch.Tensor) else thetas[name]
        paths.append({"layer": name, "channel": channel, "theta": float(theta), "potential": [], "spikes": []})
        paths[-1]["ann"] = int(ann[name].flatten()[place])
    for step in simulate(graph, image, limit, settings, record=True):
        for path, place in zip(paths, places.values(), strict=True):
            state = step.states[path["layer"]]
            path["potential"].append(float(state.v.flatten()[place]) / path["theta"])
            path["spikes"].append(int(step.spikes[path["layer"]].flatten()[place]))
            path["count"] = int(state.n.flatten()[place])
        if bool(step.quiescent.all()):
            break
    return paths
