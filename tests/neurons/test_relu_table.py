"""The paper's neuron, checked apart from it: the general neuron with f = ReLU and gamma = 1, through a table of ReLU,
sends what `cif_step` and SpikingJelly's `STBIFNode` send, spike by spike. Potentials and thresholds are integers."""

from dataclasses import replace

import pytest
import torch
from conftest import EXACT_OPS, simulate, small_graph, small_images
from hypothesis import given
from hypothesis import strategies as st

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.neurons import cif_step
from casc_det.neurons.functions import table_of
from casc_det.neurons.rule import NeuronParams, Table, initial_state, neuron_step

NEURONS = 5  # with the same threshold, other currents
RELU = "leaky_relu(0)"  # ReLU under a name that has a table
thetas, bursts, levels_of = st.integers(1, 9), st.integers(1, 6), st.integers(1, 12)
inputs = st.lists(st.lists(st.integers(-30, 30), min_size=NEURONS, max_size=NEURONS), min_size=1, max_size=24)


def run(step, currents, params) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes and counts, (T, NEURONS), of a layer (1, 1, NEURONS, 1)."""
    currents = torch.tensor(currents, dtype=torch.float64).view(-1, 1, 1, NEURONS, 1)
    state, sent = initial_state(currents[0], params), []
    for current in currents:
        s, state = step(current, state, params)
        sent.append(s.flatten())
    return torch.stack(sent), torch.stack(sent).cumsum(0)


def general(theta: int, levels: int, gamma: int = 1, text: str = "relu") -> NeuronParams:
    """The general neuron with the table of ReLU, its thresholds as an integer graph stores them."""
    table = table_of(text, 1.0, levels)
    thresholds = (table.thresholds * theta).ceil()
    return NeuronParams(float(theta), levels, gamma=gamma, table=Table(thresholds[None], table.counts.double()[None]))


def paper(theta: int, levels: int, gamma: int = 1) -> NeuronParams:
    return NeuronParams(float(theta), levels, theta // 2, gamma=gamma)


@given(inputs, thetas, levels_of, st.sampled_from(["relu", RELU, "hardtanh(0,1)"]))
def test_the_table_of_relu_is_the_neuron_of_the_paper_spike_by_spike(currents, theta, levels, text):
    ours, theirs = (
        run(neuron_step, currents, general(theta, levels, text=text)),
        run(cif_step, currents, paper(theta, levels)),
    )
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    assert ours[0].abs().max() <= 1


@given(inputs, thetas, levels_of, bursts)
def test_with_bursts_too_the_table_of_relu_is_the_rule_of_equal_steps(currents, theta, levels, gamma):
    ours, theirs = (run(neuron_step, currents, how(theta, levels, gamma)) for how in (general, paper))
    assert torch.equal(ours[0], theirs[0])


@given(inputs, thetas, levels_of)
def test_spikingjelly_sends_what_the_table_of_relu_sends(currents, theta, levels):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="pip install -e '.[bench]'")
    layer = neuron.STBIFNode(float(theta), level=levels + 1, pos_max=levels, neg_min=0, step_mode="m")
    rounding = theta / 2 - theta // 2  # STBIFNode starts at theta / 2, an integer graph at theta // 2
    given_to_it = torch.tensor(currents, dtype=torch.float64)
    given_to_it[0] -= rounding
    sent, _ = run(neuron_step, currents, general(theta, levels))
    assert torch.equal(layer(given_to_it) / theta, sent)


def with_table(graph: g.Graph) -> g.Graph:
    """The same captured network; its neurons will follow a table."""
    swap = lambda node: replace(node, function=RELU) if isinstance(node, g.Activation) else node
    return replace(graph, nodes=[swap(node) for node in graph.nodes])


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("ops", [("conv", "add", "max"), ("groups", "concat", "upsample"), tuple(EXACT_OPS)])
@given(seed=st.integers(0, 1000), levels=st.sampled_from([1, 2, 4, 8]), burst=st.integers(1, 8))
def test_a_network_with_tables_of_relu_sends_the_spikes_of_its_cqrelu_network(ops, integer, seed, levels, burst):
    captured, images = small_graph(*ops, levels=levels, seed=seed), small_images()
    graphs = [convert_graph(graph)[0] for graph in (captured, with_table(captured))]
    graphs = [to_integer(graph) for graph in graphs] if integer else graphs
    assert all((node.table is None) == (i == 0) for i, graph in enumerate(graphs) for node in graph.of_type(g.Neuron))
    how = {"burst": min(burst, levels), "ramp": False, "engine": "reference", "record": True}
    runs = [list(simulate(graph, images.to(graph.dtype), **how)) for graph in graphs]
    assert len(runs[0]) == len(runs[1])
    for plain, general in zip(*runs, strict=True):
        assert all(torch.equal(plain.spikes[name], spikes) for name, spikes in general.spikes.items())
        assert all(torch.equal(plain.readout[name], value) for name, value in general.readout.items())
