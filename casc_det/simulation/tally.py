"""What the answer to each image cost, added up over the time steps."""

from dataclasses import dataclass

import torch

from casc_det.simulation.step import Step


@dataclass(frozen=True)
class SpikingInfo:
    """What the answer cost.

    Attributes:
        timesteps: time steps used.
        quiescent: True: the network came to rest, the answer is the ANN's and final.
        spikes: spikes of all neurons, sent and taken back.
        sops: synaptic operations, one spike through one synapse each.
    """

    timesteps: int
    quiescent: bool
    spikes: int
    sops: int


class Tally:
    """Adds up what each image of a batch cost, until it is quiescent: afterwards nothing happens.

    Attributes:
        steps: time steps used. quiescent: whether it came to rest. spikes: sent and taken back. sops: synaptic
            operations. Of each image.
        sops_by_layer: (convolutions that read spikes, B) float64, their operations.
    """

    def __init__(self, batch: int) -> None:
        self.spikes, self.sops = [0] * batch, [0] * batch
        self.steps, self.quiescent = [0] * batch, [False] * batch
        self.sops_by_layer = torch.zeros(0, batch, dtype=torch.float64)

    def add(self, step: Step) -> None:
        """Add a step."""
        fired, quiescent, sops = step.fired.sum((0, 1)).tolist(), step.quiescent.tolist(), step.sops_by_layer.cpu()
        self.sops_by_layer = sops + self.sops_by_layer if len(self.sops_by_layer) else sops
        for i, operations in enumerate(sops.sum(0).tolist()):
            if not self.quiescent[i]:
                self.steps[i], self.quiescent[i] = step.t, quiescent[i]
                self.spikes[i] += fired[i]
                self.sops[i] += round(operations)

    def info(self, i: int, timesteps: int | None = None) -> SpikingInfo:
        """What image `i` cost up to the last step that was added; timesteps: that step, where it counts past rest."""
        return SpikingInfo(timesteps or self.steps[i], self.quiescent[i], self.spikes[i], self.sops[i])
