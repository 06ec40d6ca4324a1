"""One simulator serves many batches; its steps and their states stay as they were."""

from dataclasses import replace

import torch
from conftest import simulate, small_images
from simulated import assert_equal_runs, wide_graph

from casc_det import graph as g
from casc_det.simulation import Simulator


def test_steps_stay_valid_after_later_steps():
    graph, images = wide_graph(), small_images(2, 12).float()
    kept = list(simulate(graph, images, 12))
    for step, again in zip(kept, simulate(graph, images, 12, engine="reference"), strict=True):
        assert torch.equal(step.readout["boxes0"], again.readout["boxes0"])


def test_states_come_at_the_steps_asked_for():
    steps = list(simulate(wide_graph(), small_images(1, 12).float(), 5, at=(2,)))
    assert [step.t for step in steps if step.states] == [2, 5]  # also where the run ends


def test_an_edited_graph_is_another_one():
    graph, images = wide_graph(), small_images(1, 12).float()
    edit = lambda name, **fields: [replace(node, **fields) if node.name == name else node for node in graph.nodes]
    conv, theta = graph.nodes[[node.name for node in graph.nodes].index("c.conv")], graph.of_type(g.Neuron)[1].theta
    six = [replace(node, levels=6) if isinstance(node, g.Neuron) else node for node in graph.nodes]
    changes = [
        {"nodes": edit("c.conv", weight=-conv.weight)},
        {"nodes": edit("c.conv", bias=conv.bias + 700)},
        {"nodes": edit("b", theta=theta * 3)},
        {"nodes": edit("c.conv", dilation=(1, 1), padding=(1, 1))},
        {"nodes": edit("d.conv", inputs=("both",))},
        {"nodes": six, "levels": 6},
    ]
    before = assert_equal_runs(graph, images, 9)
    for change in changes:
        after = assert_equal_runs(replace(graph, **change), images, 9)
        assert not all(torch.equal(a.fired, b.fired) for a, b in zip(before, after, strict=True))


def test_a_simulator_serves_many_batches():
    simulator = Simulator(wide_graph())
    for batch in (1, 3, 2):
        images = small_images(batch, 12, seed=batch).float()
        for step, alone in zip(simulator.run(images), simulate(wide_graph(), images), strict=True):
            assert torch.equal(step.fired, alone.fired) and torch.equal(step.readout["boxes0"], alone.readout["boxes0"])
