"""tools/fuzz_models.py: random sound detectors come to rest at their ANN, in both engines; what differs is found."""

import random
from collections import Counter

import pytest
import torch
from fuzz_models import FUNCTIONS, chosen_settings, compare, other_detector, small_detector, unequal

from casc_det import graph as g
from casc_det.graph.file import load_graph
from casc_det.simulation import SimulationSettings, simulate


def images(graph: g.SpikingGraph) -> torch.Tensor:
    values = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    return values.to(graph.dtype) / 255


@pytest.mark.parametrize("seed", range(4))
def test_random_detectors_rest_at_their_ann_with_random_settings(seed, tmp_path):
    chance = random.Random(seed)
    what = other_detector(chance, tmp_path / "model.safetensors")
    graph = load_graph(tmp_path / "model.safetensors")
    graph = graph if graph.integer else load_graph(tmp_path / "model.safetensors", torch.float64)
    settings = chosen_settings(chance, graph.levels)
    assert compare(graph, images(graph), True, settings)[0] == "answered", (what, settings)


def test_every_function_and_setting_is_drawn(tmp_path):
    graphs = [small_detector("add", seed=seed, functions=FUNCTIONS) for seed in range(12)]
    found = Counter(node.function for graph in graphs for node in graph.of_type(g.Neuron))
    assert set(found) == set(FUNCTIONS)
    drawn = [chosen_settings(random.Random(seed), 16) for seed in range(200)]
    assert {1, 16, None} < {how.burst for how in drawn} and {how.ramp for how in drawn} == {None, False, True}
    assert {how.hysteresis for how in drawn} == {None, 0.25, 1} and {how.delay for how in drawn} == {None, 0.5, 2}


def test_other_runs_are_found():
    graph = small_detector("max", functions=("silu",))
    run = lambda burst, ramp=False: list(
        simulate(graph, images(graph), settings=SimulationSettings(burst=burst, ramp=ramp))
    )
    assert unequal(run(2), run(2)) is None
    assert unequal(run(1), run(4)).startswith("need ")
    assert unequal(run(2)[:2], run(1)[:2]) == "differ in fired at step 1"
