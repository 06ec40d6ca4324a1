"""Neurons with tables in graphs: made, bounded, saved, and refused where they are none."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import small_graph, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import casc_det
from casc_det import graph as g
from casc_det.conversion.integer import to_integer, to_real, with_levels
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ConversionError, WeightsError
from casc_det.graph.bounds import proved_range
from casc_det.graph.file import fingerprint, load_graph, save_graph
from casc_det.neurons.functions import table_of
from casc_det.simulation import SimulationSettings

FUNCTIONS = ("silu", "leaky_relu(0.1)", "hardswish", "identity")


def table_graph(*ops, function="silu", levels=8, seed=0, integer=True) -> g.SpikingGraph:
    graph = convert_graph(small_graph(*ops, levels=levels, seed=seed, function=function))[0]
    return to_integer(graph) if integer else graph


def edit(graph, **changes):
    first = graph.of_type(g.Neuron)[0]
    return replace(graph, nodes=[replace(node, **changes) if node is first else node for node in graph.nodes])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_thresholds_are_the_least_integers_that_reach_those_of_the_function(function):
    graph = table_graph("conv", function=function)
    for node in graph.of_type(g.Neuron):
        found = table_of(function, node.lam, 8)
        assert torch.equal(node.counts.long(), found.counts) and node.span == (found.counts.min(), found.counts.max())
        for row, theta in zip(node.thresholds.double(), node.theta.flatten().double(), strict=True):
            assert torch.equal(row, row.round())
            assert (row / theta >= found.thresholds).all() and ((row - 1) / theta < found.thresholds).all()


@given(st.sampled_from(FUNCTIONS), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
@settings(max_examples=25)
def test_every_value_stays_within_the_proved_range(function, levels, burst, ramp, seed):
    graph, burst = table_graph("conv", "add", function=function, levels=levels, seed=seed), min(burst, levels)
    bounds = proved_range(graph, burst)
    currents = {node.inputs[0]: node for node in graph.of_type(g.Neuron)}
    before: dict[str, torch.Tensor] = {}
    ways = SimulationSettings("reference", burst=burst, ramp=ramp)
    for step in casc_det.simulate(graph, small_images(seed=seed).float(), settings=ways):
        for driven, node in currents.items():
            v, n = step.states[node.name]
            came = v - before.get(node.name, 0)
            assert torch.equal(v, v.round()) and max(v.abs().max(), came.abs().max()) <= bounds[driven]
            assert node.span[0] <= n.min() and n.max() <= node.span[1] and n.abs().max() <= bounds[node.name]
            before[node.name] = v
        for node in graph.of_type(g.Readout):
            assert step.total(node.name).abs().max() <= bounds[node.inputs[0]]


def test_the_ramp_table_is_that_of_fewer_levels_in_the_same_units():
    graph = table_graph("conv")
    other = with_levels(graph, 3)
    for node, fewer in zip(graph.of_type(g.Neuron), other.of_type(g.Neuron), strict=True):
        assert torch.equal(node.ramp_table(3).thresholds, fewer.thresholds)
        assert torch.equal(node.ramp_table(3).counts, fewer.table.counts)
        assert torch.equal(node.ramp_table(8).thresholds, node.thresholds)
    assert with_levels(other, 8).of_type(g.Neuron)[0].thresholds.equal(graph.of_type(g.Neuron)[0].thresholds)
    assert g.Neuron("n", ()).ramp_table(3) is None is g.Neuron("n", ()).table


def test_a_real_valued_graph_has_the_table_in_thresholds():
    real = to_real(table_graph("conv", "add"))
    for node in real.of_type(g.Neuron):
        assert node.theta == 1.0 and torch.equal(node.thresholds[0].double(), table_of("silu", node.lam, 8).thresholds)


@pytest.mark.parametrize("integer", [True, False])
def test_a_file_holds_the_table_and_what_it_recommends(tmp_path, integer):
    graph = replace(table_graph("add", integer=integer), defaults={"burst": 4, "ramp": True})
    path = save_graph(graph, tmp_path / "table.safetensors", torch.float64)
    with safe_open(path, "pt") as file:
        kinds = {key.split(".")[-1]: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
        assert json.loads(file.metadata()["casc_det"])["version"] == 4
    assert kinds["thresholds"] == kinds["counts"] == (torch.int32 if integer else torch.float64)
    loaded = load_graph(path, torch.float64)
    assert loaded.defaults == graph.defaults and fingerprint(loaded) == fingerprint(g.moved(graph, torch.float64))


def test_fingerprints_tell_tables_apart_and_leave_older_graphs_as_they_were():
    graph = table_graph("conv")
    assert fingerprint(graph) != fingerprint(edit(graph, thresholds=graph.of_type(g.Neuron)[0].thresholds + 1))
    names = [key for key in vars(g.Neuron("n", ())) if key not in ("function", "thresholds", "counts")]
    assert names == ["name", "inputs", "theta", "levels", "lam"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"function": "relu"}, "needs no thresholds"),
        ({"function": "softmax"}, "expected a function"),
        ({"thresholds": None}, "expected \\(C, K\\)"),
        ({"counts": torch.zeros(3)}, "expected \\(C, K\\)"),
        ({"thresholds": torch.zeros(4, 99), "counts": torch.zeros(100)}, "K at most 32"),
    ],
)
def test_a_table_that_is_none_is_refused_where_the_graph_is_made(changes, words):
    with pytest.raises(ConversionError, match=words):
        edit(table_graph("conv"), **changes)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda node: {"thresholds": node.thresholds.flip(1)}, "not in ascending order"),
        (lambda node: {"thresholds": node.thresholds + 0.5}, "no integers"),
        (lambda node: {"thresholds": node.thresholds[:2]}, "thresholds of 2 channels"),
        (lambda node: {"counts": node.counts + 0.5}, "no integers from -8 to 8"),
        (lambda node: {"counts": node.counts + 4}, "no integers from -8 to 8"),
        (lambda node: {"thresholds": node.thresholds * float("nan")}, "not finite"),
    ],
)
def test_values_of_a_table_that_cannot_be_are_refused(tmp_path, spoil, words):
    graph = table_graph("add")
    with pytest.raises(ConversionError, match=words):
        save_graph(edit(graph, **spoil(graph.of_type(g.Neuron)[0])), tmp_path / "bad.safetensors")
    with pytest.raises(ConversionError, match=words):
        casc_det.Simulator(edit(graph, **spoil(graph.of_type(g.Neuron)[0])), SimulationSettings("reference"))


def test_a_newer_file_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = save_graph(table_graph("add"), tmp_path / "table.safetensors")
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    header = json.loads(metadata["casc_det"]) | {"version": 5}
    save_file(load_file(path), path, metadata | {"casc_det": json.dumps(header)})
    with pytest.raises(WeightsError, match="version"):
        load_graph(path)
