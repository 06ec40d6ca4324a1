"""Cells with their networks: told apart by content, in a dtype that holds all steps exactly."""

import shutil

import torch

from casc_det.simulation import SimulationSettings
from casc_det.studies.cells import CellLoader
from casc_det.studies.variants import Variant


def test_networks_without_a_count_limit_get_the_dtype_that_is_exact(tiny_weights):
    dtypes = {}
    for neuron, schedule in (("cif", "wsc"), ("cif", "constant"), ("if", "constant")):
        variant = Variant(str(tiny_weights), SimulationSettings(neuron=neuron, schedule=schedule))
        dtypes[neuron, schedule] = CellLoader(30000, torch.device("cpu")).load(variant).graph.dtype
    assert list(dtypes.values()) == [torch.float32, torch.float64, torch.float64]
    variant = Variant(str(tiny_weights), SimulationSettings(neuron="if"))
    assert CellLoader(2, torch.device("cpu")).load(variant).graph.dtype == torch.float32


def test_cells_are_told_apart_by_content(tiny_weights, tmp_path):
    loader, copy = CellLoader(8, torch.device("cpu")), shutil.copy(tiny_weights, tmp_path / "copy.safetensors")
    first, second = loader.load(Variant(str(tiny_weights))), loader.load(Variant(str(copy)))
    other = loader.load(Variant(str(copy), levels=2))
    assert first.key == second.key != other.key and other.graph.levels == 2
    record = {"variant": second.variant.values(), "made": {"graph": second.fingerprint}}
    assert loader.at_hand(record).key == first.key
    assert loader.at_hand({**record, "made": {"graph": other.fingerprint}}) is None
    copy.unlink()
    assert CellLoader(8, torch.device("cpu")).at_hand(record) is None
