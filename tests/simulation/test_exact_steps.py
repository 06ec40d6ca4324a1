"""How many steps counts, potentials and sums are exact for."""

import re

import pytest
import torch
from conftest import simulate
from simulated import add_chain, graph_of_signals, wide_graph

from casc_det import graph as g
from casc_det.errors import ArgumentError
from casc_det.graph import moved
from casc_det.graph.bounds import unlimited_range
from casc_det.simulation import SimulationSettings, exact_dtype

KINDS = [("cif", "wsc"), ("if", "wsc"), ("signed_if", "wsc"), ("cif", "constant"), ("if", "constant")]


@pytest.mark.parametrize(("neuron", "schedule"), KINDS[1:])
def test_counts_and_potentials_end_at_what_is_exact(neuron, schedule):
    def build(nodes, channels):
        last = add_chain(nodes, channels, [1] * 6, ())
        nodes.append(g.MaxPool("pool", (last,), (3, 3), (1, 1), (1, 1)))
        return channels.update(pool=8) or "pool"

    graph, images = graph_of_signals(build), torch.ones(1, 3, 3, 3)
    graph.nodes[1].weight.abs_().mul_(2)  # every neuron sends at every step
    with pytest.raises(ArgumentError, match="exact in .* steps of this network at most, got 600; give fewer steps$"):
        next(simulate(graph, images, 600, neuron, schedule))
    with pytest.raises(ArgumentError, match="from 1 to 32767"):
        next(simulate(graph, images, 100000, neuron, schedule))
    if schedule == "constant":
        graph.nodes[1].weight.mul_(0.5)
        with pytest.raises(ArgumentError, match="float64"):
            next(simulate(graph, images, 511, neuron, schedule))
        images, graph = images.double(), moved(graph, torch.float64)
    *_, last = simulate(graph, images, 511, neuron, schedule)  # 64 times that is 32704
    *_, slow = simulate(graph, images, 511, neuron, schedule, engine="reference")
    assert torch.equal(last.readout["boxes0"], slow.readout["boxes0"]) and torch.equal(last.fired, slow.fired)
    assert all(torch.equal(last.counts[name], value) for name, value in slow.counts.items())
    assert schedule == "wsc" or last.counts["a"].max() == 511


def test_most_exact_steps_are_the_largest_number_that_fits():
    graph, images = wide_graph(), torch.ones(1, 3, 8, 8)
    with pytest.raises(ArgumentError) as error:
        next(simulate(graph, images, 30000, "if", "constant"))
    most = int(re.search(r"exact in (\d+) steps", str(error.value))[1])
    largest = [max(unlimited_range(graph, t, t).values()) for t in (most, most + 1)]
    assert largest[0] < 2**24 <= largest[1]
    assert next(simulate(graph, images, most, "if", "constant")).t == 1
    assert exact_dtype(graph, most, SimulationSettings("fast", "if", "constant")) == torch.float32
    assert exact_dtype(graph, most + 1, SimulationSettings("fast", "if", "constant")) == torch.float64
    assert exact_dtype(graph, 30000, SimulationSettings("fast", "cif", "wsc")) == torch.float32
