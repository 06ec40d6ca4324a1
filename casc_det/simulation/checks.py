"""Where layers stand in a graph, how long answers take from there, and checks of what is to be simulated."""

from bisect import bisect_left
from functools import partial

import torch

from casc_det import graph as g
from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError, ConversionError
from casc_det.graph.bounds import EXACT_BELOW, proved_range, unlimited_range
from casc_det.neurons import is_own, kind_of
from casc_det.neurons.schedule import Schedule
from casc_det.simulation.fast.signals import largest_spikes
from casc_det.simulation.settings import MOST_STEPS, PLAIN, SimulationSettings


def depths(graph: g.SpikingGraph) -> dict[str, int]:
    """For each node the largest number of neuron layers on a path from the image to it, itself included."""
    return g.walk(graph, {g.Neuron: lambda node, x: x + 1}, lambda node, *parts: max(parts, default=0), keep=True)


def spiking_convolutions(graph: g.SpikingGraph) -> list[g.Conv]:
    """The convolutions that read spikes, not pixels."""
    reached = depths(graph)
    return [node for node in graph.of_type(g.Conv) if reached[node.inputs[0]]]


def auto_limit(graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> int:
    """A bound of the step at which WSC with CIF neurons is quiescent: wake + depth*ceil((Q - n_min)/burst) + 1.

    depth: the largest number of neuron layers on a path from the image to an output; n_min: the least count of any.
    With a delay the steps that the last layer waits are added.

    After wake the input of the first layer is complete. Once the input of a neuron is complete, each step brings its
    count a burst nearer to the final one, and the two are at most Q - n_min apart; one more step to see silence.
    """
    plan, layers = settings.plan(graph), max(depths(graph).values())
    widest = max(most - least for least, most in (node.span for node in graph.of_type(g.Neuron)))
    return plan.input_steps + layers * -(-widest // plan.burst) + 1 + plan.waiting(layers - 1)


def first_answer(graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> int:
    """The first step of WSC at which all input was seen and every layer may send: from here on a policy may stop."""
    plan = settings.plan(graph)
    return max(plan.input_steps, plan.waiting(max(depths(graph).values()) - 1) + 1)


def synapses(node: g.Conv, height: int, width: int) -> torch.Tensor:
    """Synapses that leave each position of one input channel, (H, W) float64: exact at the borders."""
    ones = torch.ones(1, 1, *node.weight.shape[2:], dtype=torch.float64)
    geometry = (node.stride, node.padding, node.dilation)
    x = torch.zeros(1, 1, height, width, dtype=ones.dtype, requires_grad=True)
    with torch.enable_grad():
        y = torch.nn.functional.conv2d(x, ones, None, *geometry)
        (reached,) = torch.autograd.grad(y.sum(), x)
    return (reached[0, 0] * (node.weight.shape[0] // node.groups)).to(node.weight.device)


EXACT = {torch.float32: EXACT_BELOW, torch.float64: 2**53}  # from here on integers are no longer exact


def check_timesteps(timesteps: int | str, graph: g.SpikingGraph, settings: SimulationSettings = PLAIN) -> int:
    """The number of steps to run at most: `timesteps` itself, or the bound of `auto`."""
    if isinstance(timesteps, str) and timesteps == "auto":
        steps = auto_limit(graph, settings)
        if steps > MOST_STEPS:
            raise ArgumentError(
                f"delay: {settings.delay!r} may take {steps} steps to rest, at most {MOST_STEPS} can be run"
            )
        return steps
    if not is_integer(timesteps, 1, MOST_STEPS):
        raise ArgumentError(f"timesteps: expected an integer from 1 to {MOST_STEPS} or 'auto', got {shown(timesteps)}")
    return timesteps


def check_exact(graph: g.SpikingGraph, steps: int, settings: SimulationSettings) -> None:
    """Raise ArgumentError where counts, potentials or sums of so many steps may leave the numbers they are kept in.

    CIF neurons with WSC cannot: their counts end at Q, and conversion proves the rest (`conversion.integer`), or
    `check_burst`. Other counts grow as long as the network runs. Of an own neuron it is taken that it sends at most a
    burst in a step.
    """
    fits = partial(_fits, graph, settings=settings, dtype=graph.dtype)
    if fits(steps):
        return
    most = bisect_left(range(1, steps), True, key=lambda t: not fits(t))
    remedy = "give fewer steps"
    if graph.dtype == torch.float32 and _fits(graph, steps, settings, torch.float64):
        remedy += ", or simulate the graph in float64"
    raise ArgumentError(
        f"timesteps: neuron='{settings.neuron}' with schedule='{settings.schedule}' is exact in {most} steps of this "
        f"network at most, got {steps}; {remedy}"
    )


def check_burst(graph: g.SpikingGraph, settings: SimulationSettings) -> None:
    """Raise ArgumentError where bursts may bring more in one step than the numbers of an integer graph hold.

    With a burst of 1 conversion has proved that they do not.
    """
    burst = settings.plan(graph).burst
    if burst == 1 or not graph.integer or graph.device.type == "meta":
        return
    try:
        proved_range(graph, burst)
    except ConversionError as error:
        raise ArgumentError(f"burst: {burst} leaves the range of this network ({error}); use burst=1") from error


def exact_dtype(graph: g.SpikingGraph, steps: int, settings: SimulationSettings) -> torch.dtype:
    """The smallest dtype in which so many steps of an integer graph are exact; float64 where none is."""
    return torch.float32 if _fits(graph, steps, settings, torch.float32) else torch.float64


def _fits(graph: g.SpikingGraph, steps: int, settings: SimulationSettings, dtype: torch.dtype) -> bool:
    """See `check_exact`."""
    plan = settings.plan(graph)
    own = is_own(settings.neuron) or type(plan) is not Schedule
    most = plan.count_limit if not own and kind_of(settings.neuron).limited else None  # None: counts grow at each step
    injected = plan.burst * steps if own else plan.injected(steps)
    counts = plan.burst * steps if most is None else most
    if counts * _most_pooled(graph, plan.burst) > MOST_STEPS:
        return False
    if not graph.integer or (most is not None and injected <= graph.levels):
        return True
    return max(unlimited_range(graph, counts, injected, plan.burst).values()) < EXACT[dtype]


def _most_pooled(graph: g.SpikingGraph, burst: int) -> int:
    """The most signals that a max pool of spikes reads the sum of: its counts are int16, too (`fast.temporal`)."""
    sizes = largest_spikes(graph, burst)
    return max([1, *(sizes[node.name] // burst for node in graph.of_type(g.MaxPool))])


def check_images(graph: g.SpikingGraph, images: torch.Tensor) -> None:
    """Raise ArgumentError where `images` is no tensor (B, 3, H, W) of values in 0..1 that `graph` can take."""
    if not isinstance(images, torch.Tensor):
        raise ArgumentError(f"images: expected a tensor (B, 3, H, W), got {type(images).__name__}")
    stride, dtype = max(graph.strides), graph.dtype
    if images.dtype != dtype:
        raise ArgumentError(
            f"images: expected dtype {dtype}, that of the graph's weights, got {images.dtype}; convert one"
        )
    sizes = images.shape[2:]
    if images.ndim != 4 or images.shape[1] != 3 or not len(images) or any(s < 1 or s % stride for s in sizes):
        raise ArgumentError(
            f"images: expected a tensor (B, 3, H, W) with H and W multiples of {stride}, got {tuple(images.shape)}; "
            "letterbox the images first"
        )
    low, high = (float(v) for v in images.aminmax())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise ArgumentError(
            f"images: expected values from 0 to 1, got {low:g} to {high:g}; divide pixels of 0..255 by 255"
        )
