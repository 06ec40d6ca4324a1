"""Graphs that the tests of the engines simulate, and how two runs are compared."""

from dataclasses import replace
from itertools import cycle

import torch
from conftest import EXACT_OPS, simulate, small_graph
from hypothesis import strategies as st

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.neurons.rule import NeuronState
from casc_det.neurons.schedule import Schedule


def spiking(*ops, **options) -> g.SpikingGraph:
    return convert_graph(small_graph(*ops, **options))[0]


def spiking_graphs(most: int) -> st.SearchStrategy:
    """Random spiking graphs of at most so many ops, all of dyadic rationals."""
    return st.builds(
        lambda ops, levels, seed: spiking(*ops, levels=levels, seed=seed),
        st.lists(st.sampled_from(EXACT_OPS), max_size=most),
        st.sampled_from([1, 2, 4, 8]),
        st.integers(0, 1000),
    )


class OddSteps(Schedule):
    """Input at steps 1, 3, 5, ... for ever."""

    def awake(self, t: int) -> bool:
        return t % 2 == 1


def silent_step(current, state, params):
    return torch.zeros_like(current), NeuronState(state.v + current, state.n)


def wide_graph(seed: int = 0, levels: int = 4) -> g.SpikingGraph:
    """Channels in eights, strides, a dilation, a residual and a max pool: what `events` and the 8-bit sums need."""
    random = torch.Generator().manual_seed(seed)
    nodes = [g.Input("image", ())]

    def layer(name, x, out, inner, kernel, **geometry):
        weight = torch.randn(out, inner, kernel, kernel, generator=random, dtype=torch.float64) / inner**0.5 / kernel
        bias = torch.randn(out, generator=random, dtype=torch.float64) / levels / 4
        nodes.append(g.Conv(f"{name}.conv", (x,), weight, bias, **geometry))
        nodes.append(g.Neuron(name, (f"{name}.conv",), 1.0, levels))
        return name

    a = layer("a", "image", 8, 3, 3, padding=(1, 1))
    b = layer("b", a, 16, 8, 3, stride=(2, 2), padding=(1, 1))
    c = layer("c", b, 16, 16, 3, padding=(2, 2), dilation=(2, 2))
    nodes.append(g.Add("sum", (b, c)))
    nodes.append(g.Concat("both", ("sum", c)))
    nodes.append(g.MaxPool("pool", ("both",), (3, 3), (1, 1), (1, 1)))
    d = layer("d", "pool", 8, 32, 1)
    e = layer("e", d, 16, 8, 2, stride=(2, 1), padding=(0, 1))
    head = torch.randn(4, 16, 1, 1, generator=random, dtype=torch.float64)
    nodes.append(g.Conv("head", (e,), head, torch.ones(4, dtype=torch.float64)))
    nodes.append(g.Readout("boxes0", ("head",)))
    return to_integer(g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, levels))


def following(graph: g.SpikingGraph, functions, clip: float = 1.0) -> g.SpikingGraph:
    """The same network with neurons that follow `functions` in turn, with this clip."""
    convs, nodes, turn = {node.name: node for node in graph.of_type(g.Conv)}, [], cycle(functions)
    for node in graph.nodes:
        if isinstance(node, g.Neuron):
            conv = convs[node.inputs[0]]
            changed = replace(node, lam=clip, function=next(turn), thresholds=None, counts=None)
            node = changed.with_table(len(conv.weight), conv.weight.dtype)
        nodes.append(node)
    return replace(graph, nodes=nodes)


def assert_equal_runs(graph, images, *args, at=(), **kwargs) -> list:
    """Both engines agree in everything that a step holds; returns the steps."""
    images = images.to(graph.dtype)
    slow = list(simulate(graph, images, *args, engine="reference", record=True, **kwargs))
    quick = list(simulate(graph, images, *args, engine="fast", record=True, at=at, **kwargs))
    assert [step.t for step in slow] == [step.t for step in quick]
    for a, b in zip(slow, quick, strict=True):
        assert torch.equal(a.quiescent, b.quiescent) and torch.equal(a.fired, b.fired)
        assert torch.equal(a.sops_by_layer, b.sops_by_layer) and torch.equal(a.peaks, b.peaks)
        assert torch.equal(a.messages, b.messages)
        assert a.spikes.keys() == b.spikes.keys() and a.readout.keys() == b.readout.keys()
        assert all(torch.equal(value, b.spikes[name]) for name, value in a.spikes.items())
        assert all(torch.equal(value, b.readout[name]) for name, value in a.readout.items())
        assert a.match is b.match is None or torch.equal(a.match, b.match)
        for name, state in b.states.items():
            assert torch.equal(a.states[name].v, state.v) and torch.equal(a.states[name].n, state.n)
    assert slow[-1].states.keys() == quick[-1].states.keys()
    return quick


def graph_of_signals(build, levels: int = 4, seed: int = 0, theta: int = 40) -> g.SpikingGraph:
    """An integer graph: eight neurons `a`, what `build(nodes, channels)` adds, then a convolution, neurons, an output.

    Values behind the convolution are whatever `build` makes of spikes; its weights are few and small, so that the proof
    holds for large ones.
    """
    random = torch.Generator().manual_seed(seed)
    weight = lambda low, high, *shape: torch.randint(low, high, shape, generator=random).float()
    nodes, channels = [g.Input("image", ())], {"a": 8}
    nodes.append(g.Conv("a.conv", ("image",), weight(-60, 61, 8, 3, 3, 3), weight(-50, 50, 8), padding=(1, 1)))
    nodes.append(g.Neuron("a", ("a.conv",), torch.full((8, 1, 1), 9000.0), levels))
    last = build(nodes, channels)
    kernel = weight(-2, 3, 8, channels[last], 1, 1)
    nodes.append(g.Conv("b.conv", (last,), kernel, weight(-50, 50, 8)))
    nodes.append(g.Neuron("b", ("b.conv",), torch.full((8, 1, 1), float(theta)), levels))
    nodes.append(g.Conv("head", ("b",), weight(-9, 10, 4, 8, 1, 1), weight(-9, 10, 4)))
    nodes.append(g.Readout("boxes0", ("head",), scale=torch.full((4, 1, 1), 0.5)))
    return g.SpikingGraph(nodes, ["thing"], [1], 1, 64, {}, levels, True)


def add_chain(nodes, channels, lengths, kinds) -> str:
    """Additions a + a, then (a + a) + (a + a), ... or Fibonacci's, with a node of `kinds` behind every other one."""
    signals = ["a"]
    for i, step in enumerate(lengths):
        name = f"add{i}"
        nodes.append(g.Add(name, (signals[-1], signals[max(-step, -len(signals))])))
        channels[name] = 8
        signals.append(name)
        if kinds and i % 2:
            kind, name = kinds[i // 2 % len(kinds)], f"move{i}"
            match kind:
                case "max":
                    nodes.append(g.MaxPool(name, (signals[-1],), (3, 3), (1, 1), (1, 1)))
                case "concat":  # with half of the signal before it, in other channels
                    nodes.append(g.Slice(f"{name}.x", (signals[-1],), 0, 4))
                    nodes.append(g.Slice(f"{name}.y", (signals[0],), 4, 8))
                    nodes.append(g.Concat(name, (f"{name}.x", f"{name}.y")))
                case "pad":  # and cut off again by a pool of one
                    nodes.append(g.ZeroPad(f"{name}.x", (signals[-1],), (1, 0, 1, 0)))
                    nodes.append(g.MaxPool(name, (f"{name}.x",), (2, 2), (1, 1)))
                case "up":
                    nodes.append(g.Upsample(f"{name}.x", (signals[-1],), (2, 2)))
                    nodes.append(g.AvgPool(name, (f"{name}.x",), (2, 2), (2, 2), divisor=1))
            channels[name] = 8
            signals = [name]  # sizes stay, older signals need not
    return signals[-1]
