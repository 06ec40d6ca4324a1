"""Operations and energy, counted as the field counts them.

Energy of one 32-bit operation in 45 nm CMOS: 4.6 pJ a multiply-accumulate (MAC), 0.9 pJ an accumulate (AC);
M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014. Memory traffic is not counted.

    ANN    MACs of all its convolutions
    SNN    MACs of the convolutions of pixels, once for each wake step that was run
           + one AC for each unit spike and synapse, sleep steps included: a burst of k counts as k, and a sum of spikes
           by its magnitude
    apart  neuron updates, one for each neuron and step; messages, one for each neuron that sends anything in a step,
           and the bits of their payload, which is a sign and a magnitude
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from casc_det.base.arguments import is_number
from casc_det.errors import ArgumentError

if TYPE_CHECKING:
    from casc_det.simulation.cost import Operations


@dataclass(frozen=True)
class EnergyModel:
    """Picojoules of one operation; ArgumentError where they are no finite numbers of at least 0."""

    mac_pj: float = 4.6
    ac_pj: float = 0.9

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not is_number(value, 0, sys.float_info.max):
                raise ArgumentError(f"{name}: expected picojoules, a number of at least 0, got {value!r}")


ENERGY = EnergyModel()


def energy_mj(macs: float, acs: float, model: EnergyModel = ENERGY) -> float:
    """Millijoules of so many operations."""
    return (macs * model.mac_pj + acs * model.ac_pj) * 1e-9


def ann_costs(operations: "Sequence[Operations]", model: EnergyModel) -> dict[str, float]:
    """MACs and millijoules of the ANN, means over images of which `operations` are given."""
    macs = sum(work.ann_macs for work in operations) / len(operations)
    return {"macs": macs, "energy_mJ": energy_mj(macs, 0, model)}


def spiking_costs(
    operations: "Sequence[Operations]", steps: Sequence[int], sops: float, wake: int | None, model: EnergyModel
) -> dict[str, float]:
    """SOPs, MACs and millijoules of the spiking network, means over images.

    Args:
        operations: of each image. steps: that were run for each. sops: their mean.
        wake: the steps that get input, None: all.
    """
    macs = sum(work.snn_macs(t, wake) for work, t in zip(operations, steps, strict=True)) / len(operations)
    return {"sops": sops, "macs": macs, "energy_mJ": energy_mj(macs, sops, model)}
