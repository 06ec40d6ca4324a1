"""What is counted in a time step, of both engines: spikes, the synapses they pass, counts beside wanted ones.

`casc_det.simulation.fast.counting` holds compiled forms of these.
"""

import torch


def count_fired(spikes: torch.Tensor) -> torch.Tensor:
    """(2, B) int64, spikes sent and taken back, of spikes (B, C, H, W)."""
    return torch.stack([(spikes > 0).sum((1, 2, 3)), (spikes < 0).sum((1, 2, 3))])


def count_sops(signal: torch.Tensor, synapses: torch.Tensor) -> torch.Tensor:
    """(B,) float64, synaptic operations of a signal (B, C, H, W), by magnitude; synapses: (H, W) that leave a position.

    One spike through one synapse is one operation, a graded signal counts as many as its magnitude.
    """
    return (signal.abs().sum(1, dtype=torch.float64) * synapses).sum((1, 2))


def count_gaps(counts: torch.Tensor, wanted: torch.Tensor, scale: tuple[int, int]) -> torch.Tensor:
    """(B, 3) int64: neurons with more than wanted, with fewer, and the sum of the differences, by magnitude.

    counts times `scale[0]` are held against wanted times `scale[1]`, both (B, ...).
    """
    gap = (counts * scale[0] - wanted * scale[1]).flatten(1)
    return torch.stack([(gap > 0).sum(1), (gap < 0).sum(1), gap.abs().sum(1)], 1).long()


def rate_scale(t: int, levels: int) -> tuple[int, int]:
    """What counts after step `t`, and the ANN's, are multiplied by to be compared as rates: n / min(t, Q), n* / Q."""
    return levels, min(t, levels)
