"""What convolutions read: told from the graph, and held against every signal that reaches one."""

import pytest
import torch
from conftest import OPS, simulate, small_graph, small_images
from hypothesis import given
from hypothesis import strategies as st
from simulated import spiking

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.simulation import SimulationSettings
from casc_det.simulation.describe import describe
from casc_det.simulation.reads import reads, spike_audit
from casc_det.simulation.step import Tally, payload_bits


def kinds_above(graph: g.SpikingGraph, node: g.Node) -> set[str]:
    """What a node reads, followed upwards to where values are made."""
    nodes, found = {other.name: other for other in graph.nodes}, set()
    for source in (nodes[name] for name in node.inputs):
        if isinstance(source, g.Input):
            found.add("pixels")
        elif isinstance(source, g.Neuron):
            found.add("spikes")
        else:
            found |= kinds_above(graph, source) | ({"graded"} if isinstance(source, g.AvgPool | g.Pointwise) else set())
    return found


@given(st.lists(st.sampled_from(OPS), max_size=4), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_every_signal_is_what_the_audit_says(ops, burst, ramp, seed):
    graph = convert_graph(small_graph(*ops, levels=6, seed=seed, function="silu"))[0]
    settings = SimulationSettings("reference", burst=burst, ramp=ramp)
    found, tally, steps = reads(graph, burst), Tally(graph, settings, 2), []
    for node in graph.of_type(g.Conv):
        above = kinds_above(graph, node)
        assert found[node.name].kind == (above.pop() if len(above) == 1 else "graded")
        assert (found[node.name].largest is None) == (found[node.name].kind != "spikes")
    for step in simulate(graph, small_images(2, 10, seed), 12, engine="reference", burst=burst, ramp=ramp):
        tally.add(step)
        steps.append(step.peaks)
    infos = [tally.info(i) for i in range(2)]
    seen = torch.stack(steps).amax((0, 2)).tolist()
    audit = spike_audit(graph, settings, [info.peaks for info in infos])
    for name, peak in zip(infos[0].peaks, seen, strict=True):
        row = audit["convolutions"][name]
        assert row["seen"] == peak and (row["largest"] is None or peak <= row["largest"])
        assert row["reads"] != "spikes" or peak == int(peak)


def test_the_line_of_the_audit():
    audit = spike_audit(spiking("add", "conv"), SimulationSettings(burst=3))
    assert audit["summary"].startswith("every convolution but 1 reads spikes (|s| <= 6); ")
    assert audit["summary"].endswith(f" {100 * audit['graded_macs']:.1f} % of the MACs read graded values (pixels)")
    macs = {name: row["macs"] for name, row in audit["convolutions"].items()}
    assert audit["graded_macs"] == next(iter(macs.values())) / sum(macs.values())
    other = spike_audit(spiking("sigmoid", "conv"), SimulationSettings(), [{"conv1": 1.0}])
    assert (
        other["summary"].startswith("every convolution but 2 reads") and "(pixels, graded signals)" in other["summary"]
    )


def test_the_tally_of_each_image_is_that_of_its_recorded_spikes():
    graph, settings = to_integer(spiking("add", "conv", levels=6)), SimulationSettings("reference", burst=4)
    tally, spikes, sops, steps = Tally(graph, settings, 3), [], [], [0] * 3
    for step in simulate(graph, small_images(3).float(), engine="reference", burst=4, record=True):
        tally.add(step)
        spikes.append(step.spikes)
        sops.append(step.layer_sops)
        steps = [t or (step.t if rest else 0) for t, rest in zip(steps, step.quiescent.tolist(), strict=True)]
    for i in range(3):
        info = tally.info(i)
        sent = {name: torch.stack([x[name][i] for x in spikes]) for name in spikes[0]}
        assert info.layer_spikes == {name: int(x.abs().sum()) for name, x in sent.items()}
        assert info.layer_messages == {name: int((x != 0).sum()) for name, x in sent.items()}
        assert info.layer_sops == {name: sum(float(x[name][i]) for x in sops) for name in sops[0]}
        assert (info.spikes, info.messages) == (sum(info.layer_spikes.values()), sum(info.layer_messages.values()))
        assert info.sops == sum(info.layer_sops.values()) and info.payload_bits == 3 * info.messages < 3 * info.spikes
        assert info.timesteps == steps[i] and info.quiescent
        assert repr(info).count("layer") == 0


@pytest.mark.parametrize(("burst", "bits"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 4), (9, 5), (64, 7)])
def test_a_message_has_a_sign_and_one_of_so_many_magnitudes(burst, bits):
    assert payload_bits(burst) == bits and 2 ** (bits - 1) >= burst


def test_facts_are_told_for_the_recommended_burst_or_another():
    graph = to_integer(convert_graph(small_graph("add", levels=8, function="silu"))[0])
    graph.defaults.update(burst=4, ramp=True)
    facts = describe(graph, 64)
    assert facts["activations"] == {"silu": len(graph.of_type(g.Neuron))}
    assert facts["counts"] == [min(int(n.counts.min()) for n in graph.of_type(g.Neuron)), 8] and facts["counts"][0] < 0
    assert facts["recommended"] == {"burst": 4, "ramp": True, "hysteresis": 0, "delay": 0}
    assert (facts["burst"], facts["bits of a message"], facts["wake steps"]) == (4, 3, 2)
    other = describe(graph, 64, 1)
    assert other["recommended"] == facts["recommended"] and other["most steps to rest"] > facts["most steps to rest"]
    assert (other["burst"], other["bits of a message"], other["wake steps"]) == (1, 1, 8)
