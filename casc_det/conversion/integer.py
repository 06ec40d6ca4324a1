"""Real-valued spiking graph -> integer graph: int8 weights, integer thresholds, biases and potentials, pixels 0..255.

Per output channel the weights U (in units of the threshold) become `round(theta * U)` with an integer threshold
`theta`, the wake bias of all Q steps together becomes one integer that the steps share, and the potential starts at
`theta // 2`. Counts then are integers computed from integers:

    n = clip((sum U_int n_in + B + theta // 2) // theta, 0, Q)          (ReLU; other functions: their table)

for the ANN, and what the CIF neurons come to rest at for the spiking network. An output without neuron is one integer
sum; a float scale at its end makes the real value. `proved_range` bounds every potential and sum: below 2^24 float32
adds integers without error in any order, so both networks agree bit for bit on every CPU.

Rounding: `theta` per channel is the one with the smallest squared error; single weights are then rounded to their other
neighbour so that the errors of each kernel, and of each output channel, cancel. Spikes are never negative in the mean,
so it is the sum of the errors that shifts a neuron's input (cf. SQuant, Guo et al., arXiv 2202.07471). Data-free.
"""

from dataclasses import replace

import torch

from casc_det import graph as g
from casc_det.errors import ConversionError
from casc_det.graph.bounds import EXACT_BELOW, LARGEST, Counts, Span, proved_range, reach, spans_of, units_of
from casc_det.neurons.activation import check_levels

CARRIED = (g.Spiking.LINEAR, g.Spiking.TEMPORAL)  # ops that conversion leaves as they are
FRACTIONS = torch.arange(0.50, 1.61, 0.01, dtype=torch.float64)  # of the threshold that just fits the largest weight


def to_integer(graph: g.SpikingGraph) -> g.SpikingGraph:
    """The integer graph of a real-valued spiking graph, in float32 (integers).

    Raises:
        ConversionError: an op has graded output, a convolution drives neither neurons nor an output, or the range
            cannot be kept.
    """
    if graph.integer:
        return graph
    if problem := integer_problem(graph):
        raise ConversionError(f"precision: {problem}; use precision=float")
    graph = replace(graph, nodes=[node.form(integer=True) for node in graph.nodes])
    ones = lambda node, part: Span(*torch.ones(2, len(node.weight), dtype=torch.float64))
    units, spans = units_of(graph), spans_of(graph, Counts(None, graph.levels, 0), ones)
    thetas: dict[str, torch.Tensor] = {}
    nodes: list[g.Node] = []
    for node in graph.nodes:
        match node:
            case g.Conv():
                weight = node.weight.double() * node.per_weight(units[node.inputs[0]])
                bias = graph.levels * node.bias.double()
                part = Span(*map(node.per_weight, spans[node.inputs[0]]))
                cap = _largest_theta(weight, bias, part, graph.levels)
                if bool((cap < 1).any()):
                    raise ConversionError(f"precision: '{node.name}' leaves the range of 2^24; use precision=float")
                theta = _best_theta(weight, cap)
                thetas[node.name] = theta
                rounded = round_balanced(weight * theta.view(-1, 1, 1, 1))
                rounded, bias = rounded + 0.0, torch.round(bias * theta) + 0.0  # no -0, which a file does not keep
                node = replace(node, weight=rounded.float(), bias=bias.float())
            case g.Neuron():
                theta = thetas[node.inputs[0]]
                node = replace(node, theta=theta.view(-1, 1, 1).float()).with_table(len(theta), torch.float32)
            case g.Readout():
                node = replace(node, scale=(1 / thetas[node.inputs[0]]).view(-1, 1, 1).float())
        nodes.append(node)
    result = replace(graph, nodes=nodes, integer=True)
    proved_range(result)
    return result


def integer_problem(graph: g.Graph) -> str | None:
    """Why a graph, captured or converted, cannot become an integer graph, whatever its weights are; None: it can."""
    readers = graph.consumers()
    for node in graph.nodes:
        if node.spiking in CARRIED and not node.integer:
            return f"'{node.name}' ({node.label}) is no op on integers"
        if not isinstance(node, g.Conv):
            continue
        targets = readers[node.name]
        if [type(target) for target in targets] == [g.BatchNorm]:
            targets = readers[targets[0].name]
        if len(targets) != 1 or not targets[0].takes_current:
            driven = ", ".join(sorted({type(target).__name__ for target in targets})) or "nothing"
            return f"convolution '{node.name}' drives {driven}, expected one activation or output that is its own"
    return None


def with_levels(graph: g.SpikingGraph, levels: int) -> g.SpikingGraph:
    """The same network with another Q and the same clips, not trained for it: its steps are lam / levels.

    Thresholds are in units of lam / Q on both sides of a convolution, so only the injected bias and
    tables depend on Q.

    Raises:
        ArgumentError, ConversionError: levels is no Q, or the range of integers cannot be kept.
    """
    check_levels(levels)
    if levels == graph.levels:
        return graph
    nodes: list[g.Node] = []
    for node in graph.nodes:
        if isinstance(node, g.Neuron):
            node = _with_table(replace(node, levels=levels), graph.dtype)
        if isinstance(node, g.Conv) and graph.integer:
            node = replace(node, bias=torch.round(node.bias.double() * levels / graph.levels).to(node.bias.dtype))
        nodes.append(node)
    result = replace(graph, nodes=nodes, levels=levels)
    if result.integer:
        proved_range(result)
    return result


def _with_table(node: g.Neuron, dtype: torch.dtype) -> g.Neuron:
    """The neurons with the table of their function anew, as they have other levels or another unit now."""
    return node if node.thresholds is None else node.with_table(len(node.thresholds), dtype)


def to_real(graph: g.SpikingGraph) -> g.SpikingGraph:
    """The real-valued spiking graph (float64) that an integer graph is; nothing of the rounding is undone."""
    if not graph.integer:
        return graph
    units = units_of(graph)
    nodes: list[g.Node] = []
    thetas = {node.inputs[0]: torch.as_tensor(node.theta).double() for node in graph.of_type(g.Neuron)}
    thetas |= {node.inputs[0]: 1 / node.scale.double() for node in graph.of_type(g.Readout) if node.scale is not None}
    for node in graph.nodes:
        match node:
            case g.Conv():
                theta = thetas[node.name].view(-1, 1, 1, 1)
                weight = node.weight.double() / theta / node.per_weight(units[node.inputs[0]])
                node = replace(node, weight=weight, bias=node.bias.double() / theta.flatten() / graph.levels)
            case g.Neuron():
                node = _with_table(replace(node, theta=1.0), torch.float64)
            case g.Readout():
                node = replace(node, scale=None)
            case _:
                node = node.form(integer=False)
        nodes.append(node)
    return replace(graph, nodes=nodes, integer=False)


def round_balanced(values: torch.Tensor) -> torch.Tensor:
    """Integers near `values` (O, I, H, W), each one of its two neighbours, within -127..127.

    First the sum of the errors of each kernel, then that of each output channel is brought within 1/2 where rounding
    some values the other way can do that; the values that were nearest to the middle go first.
    """
    rounded = values.round().clamp(-LARGEST, LARGEST)
    rounded = _balance(values.flatten(2), rounded.flatten(2)) if values[0, 0].numel() > 1 else rounded
    return _balance(values.flatten(1), rounded.reshape(len(values), -1)).view_as(values)


def _balance(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """Round some values along the last dimension the other way, so that the sum of errors becomes small."""
    error = rounded - values
    total = error.sum(-1, keepdim=True)
    sign = total.sign()
    moved = rounded - sign
    # only values that were rounded in the direction of the total, to their other neighbour, within the range
    open_ = (error * sign > 0) & (error.abs() <= 0.5) & (moved.abs() <= LARGEST)
    order = torch.where(open_, error.abs(), -1.0).argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    flip = open_ & (rank < total.abs().round())
    return torch.where(flip, moved, rounded)


def _best_theta(weight: torch.Tensor, cap: torch.Tensor) -> torch.Tensor:
    """Integer thresholds (O,), at most `cap`, with the smallest squared rounding error of the weights."""
    flat = weight.flatten(1)
    fitting = LARGEST / flat.abs().amax(1).clamp(min=1e-12)
    best, least = torch.ones_like(fitting), torch.full_like(fitting, float("inf"))
    for fraction in FRACTIONS:
        theta = (fitting * fraction).round().clamp(min=1).minimum(cap)
        rounded = (flat * theta[:, None]).round().clamp(-LARGEST, LARGEST)
        error = (rounded / theta[:, None] - flat).square().sum(1)
        better = error < least
        best, least = torch.where(better, theta, best), torch.where(better, error, least)
    return best


def _largest_theta(weight: torch.Tensor, bias: torch.Tensor, part: Span, levels: int) -> torch.Tensor:
    """The largest integer thresholds (O,) that keep the range; rounding may add half a unit to each weight."""
    span = reach(weight, bias, part)
    per_unit = span.top + span.bottom if levels == 1 else span.largest  # one step may swing over both sides at Q = 1
    per_unit = per_unit + levels + 1
    room = EXACT_BELOW - 1 - 0.5 * ((part.top + part.bottom).expand_as(weight).flatten(1).sum(1) + 1) * 2
    return (room / per_unit).floor()
