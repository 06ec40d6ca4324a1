"""Neurons that follow any function, in bursts: laws that the reference engine is held to."""

from dataclasses import replace

import pytest
import torch
from conftest import small_graph, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import spiking

import casc_det
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError, ConversionError
from casc_det.graph.file import load_graph, save_graph
from casc_det.simulation import PAPER, SimulationSettings, auto_limit
from casc_det.simulation.twin import ann_forward

functions = st.sampled_from(["silu", "leaky_relu(0.1)", "hardswish", "gelu", "mish", "relu6", "identity", "sigmoid"])


@given(
    functions, st.integers(1, 9), st.integers(1, 9), st.booleans(), st.sampled_from([0, 0.5]),
    st.sampled_from([0, 0.75]), st.booleans(), st.integers(0, 50),
)  # fmt: skip
@settings(max_examples=40)
def test_any_function_comes_to_rest_at_its_ann(function, levels, burst, ramp, hysteresis, delay, integer, seed):
    """The fixed point depends on the total input alone: not on bursts, the ramp rule, hysteresis and delay."""
    graph = convert_graph(small_graph("conv", "max", "add", levels=levels, seed=seed, function=function))[0]
    graph, images = to_integer(graph) if integer else graph, small_images(seed=seed)
    images = images.to(graph.dtype)
    ways = SimulationSettings("reference", "cif", "wsc", hysteresis, delay, min(burst, levels), ramp)
    steps, ann = list(casc_det.simulate(graph, images, settings=ways)), ann_forward(graph, images)
    assert steps[-1].quiescent.all() and steps[-1].t <= auto_limit(graph, ways)
    for name, counts in ann.counts.items():
        assert torch.equal(steps[-1].counts[name], counts)
        assert -levels <= counts.min() and counts.max() <= levels
    for name, value in ann.readout.items():
        torch.testing.assert_close(steps[-1].readout[name], value, rtol=0, atol=0 if integer else 1e-12)


def test_bursts_count_as_unit_spikes_and_once_as_a_message():
    graph, images = to_integer(convert_graph(small_graph("conv", levels=8, function="silu"))[0]), small_images().float()
    for step in casc_det.simulate(graph, images, settings=SimulationSettings("reference", burst=3), record=True):
        sent = torch.stack(
            [torch.stack([x.clamp(min=0).sum((1, 2, 3)), -x.clamp(max=0).sum((1, 2, 3))]) for x in step.spikes.values()]
        )
        assert torch.equal(step.fired, sent.long())
        assert torch.equal(step.messages, torch.stack([(x != 0).sum((1, 2, 3)) for x in step.spikes.values()]))
        assert max(x.abs().max() for x in step.spikes.values()) <= 3


@pytest.mark.parametrize("fields", [{"neuron": "if"}, {"neuron": "signed_if"}, {"schedule": "constant"}])
def test_tables_need_cif_and_wsc(fields):
    graph = convert_graph(small_graph("conv", function="silu"))[0]
    with pytest.raises(ArgumentError, match="^(neuron|schedule): '[a-z_]*' cannot follow the tables of this network"):
        casc_det.Simulator(graph, SimulationSettings("reference", **fields))


@pytest.mark.parametrize("burst", [0, 5, 1.5, True, "2"])
def test_bursts_go_from_1_to_q(burst):
    with pytest.raises(ArgumentError, match="^burst: expected an integer from 1 to the levels Q"):
        casc_det.Simulator(spiking("conv", levels=4), SimulationSettings("reference", burst=burst))


def test_what_is_not_given_is_what_the_file_recommends(tmp_path):
    graph = replace(to_integer(spiking("add", levels=8)), defaults={"burst": 4, "ramp": True, "delay": 0.5})
    graph = load_graph(save_graph(graph, tmp_path / "recommended.safetensors"))
    found = casc_det.Simulator(graph, SimulationSettings("reference", delay=0)).settings
    assert (found.burst, found.ramp, found.delay, found.hysteresis) == (4, True, 0, 0)
    assert SimulationSettings("reference", "if").of(graph) == replace(PAPER, engine="reference", neuron="if")
    with pytest.raises(ConversionError, match="defaults"):
        replace(graph, defaults={"burst": 0})
