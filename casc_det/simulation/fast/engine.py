"""The fast engine: layer by layer over all time steps of a chunk.

Nothing in a YOLO feeds back, so a layer can be given all steps of a chunk at once: one convolution over K*B images,
then one scan over time for its neurons. Steps without a spike are left out of the convolutions, images at rest out of
everything. What it computes is what the reference engine computes.
"""

from casc_det import graph as g
from casc_det.simulation.fast.chunk import Chunk
from casc_det.simulation.fast.compiling import follow_threads
from casc_det.simulation.fast.memory import Memory
from casc_det.simulation.fast.network import Network
from casc_det.simulation.settings import SimulationSettings
from casc_det.simulation.state import State
from casc_det.simulation.step import Extras, Step

CHUNK = 16  # steps, at most
SLEEP = 4  # steps of sleep that are taken at once, at least
PIXELS = 16 * 640 * 640  # input pixels of a chunk: bounds the memory


class FastEngine:
    """A graph made ready for the fast engine."""

    def __init__(self, graph: g.SpikingGraph, settings: SimulationSettings) -> None:
        self.settings, self.network = settings, Network(graph, settings.plan(graph))

    def longest(self, state: State) -> int:
        """The number of steps that `advance` takes at most: what fits into memory, and either wake with the first steps
        of sleep, in which about as much is sent, or as many steps of sleep alone as wake has, whose few spikes are
        followed one by one.
        """
        running = max(1, int((~state.quiescent).sum()))
        steps = min(max(1, PIXELS // (running * state.pixels.shape[2] * state.pixels.shape[3])), CHUNK)
        wake = self.network.plan.wake or CHUNK
        return min(steps, wake + wake // 2 - state.t if state.t < wake else max(wake, SLEEP))

    def advance(self, state: State, steps: int, extras: Extras, reuse: bool = False) -> tuple[State, list[Step]]:
        """The state after some steps, and what is known after each; `reuse`: `state` is lost, its memory is used."""
        follow_threads()
        memory = Memory(state, reuse)
        times = range(state.t + 1, state.t + steps + 1)
        chunk = Chunk(self.network, self.settings, memory, times, ~state.quiescent, extras)
        chunk.run()
        known = chunk.steps()
        return memory.state(state, times[-1], known[-1].quiescent), known
