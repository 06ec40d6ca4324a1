"""What each row costs, as means over images."""

from collections.abc import Mapping, Sequence

import numpy as np

from casc_det.evaluation.energy import EnergyModel, ann_costs, energy_mj, spiking_costs
from casc_det.evaluation.scores import Rows
from casc_det.neurons.schedule import Schedule
from casc_det.simulation import Simulator
from casc_det.simulation.cost import Operations, count_operations
from casc_det.simulation.step import payload_bits


def add_costs(rows: Rows, records: Sequence[dict], simulator: Simulator, model: EnergyModel) -> None:
    """Add to every row what it costs; records: see `detection`."""
    graph = simulator.graph
    plan = simulator.settings.plan(graph)
    by_size = {size: count_operations(graph, *size) for size in {tuple(record["input"]) for record in records}}
    operations = [by_size[tuple(record["input"])] for record in records]
    for row, values in rows.items():
        costs = [record["cost"][row] for record in records]
        values["seconds"] = mean_of(costs, "seconds")
        if row == "ann":
            values |= ann_costs(operations, model)
        if row.startswith("snn"):
            values |= of_spiking(costs, operations, plan, model)


def mean_of(costs: Sequence[dict], key: str) -> float:
    """The mean of one cost over images."""
    return float(np.mean([cost[key] for cost in costs]))


def layer_means(costs: Sequence[dict], key: str) -> dict[str, float]:
    """The means over images of what is counted layer by layer."""
    return {name: float(np.mean([cost[key][name] for cost in costs])) for name in costs[0][key]}


def layer_costs(spikes: Mapping[str, float], messages: Mapping[str, float], burst: int) -> dict[str, dict[str, float]]:
    """What each neuron layer sends: unit spikes, messages, and the bits of their payload."""
    bits = payload_bits(burst)
    return {
        name: {"spikes": spikes[name], "messages": sent, "payload_bits": sent * bits} for name, sent in messages.items()
    }


def of_spiking(
    costs: Sequence[dict], operations: Sequence[Operations], plan: Schedule, model: EnergyModel
) -> dict[str, object]:
    """The costs of a row of the spiking network, from those of each image."""
    spikes, messages, sops = (layer_means(costs, key) for key in ("spikes", "messages", "sops"))
    steps = [cost["timesteps"] for cost in costs]
    updates = float(np.mean([work.neurons * t for work, t in zip(operations, steps, strict=True)]))
    different = [cost["neurons_different"] for cost in costs]
    sent, told = (float(np.mean([sum(cost[key].values()) for cost in costs])) for key in ("spikes", "messages"))
    return {
        "spikes": sent,
        "messages": told,
        "payload_bits": told * payload_bits(plan.burst),
        **spiking_costs(operations, steps, sum(sops.values()), plan.wake, model),
        "neuron_updates": updates,
        "neuron_energy_mJ": energy_mj(0, updates, model),
        "layers": layer_costs(spikes, messages, plan.burst),
        "layer_sops": sops,
        "steps_mean": mean_of(costs, "timesteps"),
        "quiescent": mean_of(costs, "quiescent"),
        "difference_mean": mean_of(costs, "difference_mean"),
        "difference_max": float(np.max([cost["difference_max"] for cost in costs])),
        "neurons_different": None if None in different else sum(different),
        "same_boxes": mean_of(costs, "same_boxes"),
    }


def as_row(name: str, values: dict[str, object]) -> dict[str, object]:
    """One entry of `rows` in results.json."""
    network, _, t = name.partition(" ")
    return {"network": network, "timesteps": int(t) if t.isdigit() else t or None, **values}
