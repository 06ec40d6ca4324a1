"""Operations and their energy."""

import pytest
from conftest import live_yolo

from casc_det import convert
from casc_det.errors import ArgumentError
from casc_det.evaluation.energy import EnergyModel, ann_costs, energy_mj, spiking_costs
from casc_det.simulation.cost import Operations, count_operations


@pytest.mark.parametrize(("name", "value"), [("mac_pj", -1), ("mac_pj", "much"), ("ac_pj", float("nan"))])
def test_energies_that_cannot_be_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected picojoules"):
        EnergyModel(**{name: value})


def test_energy_counts_macs_and_accumulates():
    assert energy_mj(1e9, 2e9, EnergyModel(4.6, 0.9)) == pytest.approx(4.6 + 1.8)
    operations = count_operations(convert(live_yolo("yolov8n")[0], imgsz=64).graph, 64, 96)
    assert len(operations.pixels) == 1 and operations.snn_macs(2, 4) == operations.snn_macs(9, 4) / 2
    assert operations.snn_macs(9, None) == 9 * operations.snn_macs(1, 1)  # input that never ends
    assert operations.macs[next(iter(operations.pixels))] == 32 * 48 * 16 * 27


def test_costs_of_a_row_are_means_over_images_of_any_size():
    small, large = (Operations({"a": 10 * k, "b": 90 * k}, frozenset("a"), {"n": k}) for k in (1, 3))
    model = EnergyModel(2, 1)
    assert ann_costs([small, large], model) == {"macs": 200, "energy_mJ": pytest.approx(400e-9)}
    row = spiking_costs([small, large], [2, 9], 50.0, 4, model)  # of 9 steps 4 are wake
    assert row == {"sops": 50.0, "macs": (20 + 120) / 2, "energy_mJ": pytest.approx((70 * 2 + 50) * 1e-9)}
