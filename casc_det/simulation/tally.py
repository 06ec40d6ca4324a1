"""What the answer to each image cost, added up over the time steps."""

from dataclasses import dataclass


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
    """Adds up what each picture of a batch cost, until it is quiescent."""

    def __init__(self, batch: int):
        self.spikes, self.sops = [0] * batch, [0] * batch
        self.steps, self.quiescent = [0] * batch, [False] * batch

    def add(self, step) -> None:
        fired = step.fired.sum((0, 1)).tolist()
        sops, quiescent = step.sops.tolist(), step.quiescent.tolist()
        for i in range(len(fired)):
            if not self.quiescent[i]:
                self.steps[i], self.quiescent[i] = step.t, quiescent[i]
                self.spikes[i] += fired[i]
                self.sops[i] += round(sops[i])

    def info(self, i: int, timesteps: int | None = None) -> SpikingInfo:
        return SpikingInfo(timesteps or self.steps[i], self.quiescent[i], self.spikes[i], self.sops[i])
