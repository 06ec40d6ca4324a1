"""One chunk of the fast engine: some time steps of the images that run, node by node.

Inside, feature maps are (R, H, W, C), one row for a step of an image; see `casc_det.simulation.fast.signals`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeGuard

import torch

from casc_det import graph as g
from casc_det.simulation.fast.compiling import compiled
from casc_det.simulation.fast.forms import NO_LIMIT, Layer, count_gaps, events, scan, weigh
from casc_det.simulation.fast.memory import Memory, Neurons
from casc_det.simulation.fast.network import Network
from casc_det.simulation.fast.signals import Events, Rows, Signal, chosen_rows, move, nchw, nhwc, spread
from casc_det.simulation.fast.temporal import Readouts, add_up, difference
from casc_det.simulation.settings import SimulationSettings
from casc_det.simulation.step import Extras, Step, count_sops, largest, rate_scale

SPARSE = 1 / 25  # spikes that pass fewer synapses than this share of a convolution are followed one by one


class Rules(NamedTuple):
    """What some layers follow in the steps of a chunk, see `Layer`. steady: it is what they followed before it, too."""

    limits: torch.Tensor
    lows: torch.Tensor
    which: torch.Tensor
    steady: bool


class Chunk:
    """The steps `times` of a simulation, K of them, of the B images that run.

    Args:
        memory: the state, which `run` moves on. running: (all images,) bool. extras: what `steps` shall tell.
    """

    def __init__(
        self,
        network: Network,
        settings: SimulationSettings,
        memory: Memory,
        times: range,
        running: torch.Tensor,
        extras: Extras,
    ) -> None:
        self.network, self.graph, self.memory, self.times, self.extras = network, network.graph, memory, times, extras
        self.plan, self.neuron = network.plan, settings.neuron
        self.running, self.images = running, running.nonzero().flatten()
        self.dtype, self.device = memory.pixels.dtype, memory.pixels.device
        self.size = (len(times), len(self.images))
        self.awake = torch.tensor([self.plan.awake(t) for t in times], device=self.device)
        self.wakes = bool(self.awake.any())
        self.layers = [node.name for node in self.graph.of_type(g.Neuron)]
        self.fired = torch.zeros(len(self.layers), 3, *self.size, dtype=torch.int64, device=self.device)
        self.sops = torch.zeros(len(network.spiking), *self.size, dtype=torch.float64, device=self.device)
        self.peaks = torch.zeros_like(self.sops)
        self.spikes: dict[str, Signal] = {}  # of layers, where they are needed after the last reader
        self.before: dict[str, torch.Tensor] = {}  # counts (all images, N) before the chunk, where they are needed
        self.readouts = Readouts(network, self.plan, times, self.images)
        self.rules: dict[int, Rules] = {}

    def run(self) -> None:
        """Take the steps."""
        if len(self.images):
            rules: dict[type[g.Node], Callable] = {
                g.Input: self._inject,
                g.Conv: self._convolve,
                g.Neuron: self._fire,
                g.Readout: self._read_out,
            }
            g.walk(self.graph, rules, self._other)
        self.readouts.finish(self.memory, self.before, self.spikes)

    def steps(self) -> list[Step]:
        """What is known after each step."""
        layers = self.network.layers
        may_rest = torch.tensor([self.plan.may_rest(t, layers) for t in self.times], device=self.device)
        silent = (self.fired[:, 2].sum(0) == 0) & may_rest[:, None]
        match = None if self.extras.compare is None else self._match(self.extras.compare)
        return [
            Step(
                self.graph,
                self.plan.injected(t),
                t,
                self._all(silent[k], ~self.running),
                self._all(self.fired[:, :2, k]),
                self._all(self.fired[:, 2, k]),
                self._all(self.sops[:, k]),
                self._all(self.peaks[:, k]),
                partial(self.readouts.after, k),
                states={},
                spikes=self._recorded(k) if self.extras.record else None,
                match=None if match is None else match[:, k],
            )
            for k, t in enumerate(self.times)
        ]

    def _all(self, x: torch.Tensor, rest: torch.Tensor | None = None) -> torch.Tensor:
        """The values (..., all images): `x` of those that run, `rest` or zero of the others."""
        others = x.new_zeros(*x.shape[:-1], len(self.running)) if rest is None else rest
        return spread(x, others, self.images, -1)

    def _recorded(self, k: int) -> dict[str, torch.Tensor]:
        """`Step.spikes` after step `times[k]`."""
        result = {}
        for name, layer in self.memory.neurons.items():
            none = layer.v.new_zeros(len(self.running), *layer.shape)
            if name in self.spikes and len(data := self.spikes[name].data):
                sent = Signal(data.view(*self.size, *layer.shape)[k], self.spikes[name].zero)
                none = spread(sent.floats(self.dtype), none, self.images, 0)
            result[name] = nchw(none)
        return result

    def _match(self, wanted: dict[str, torch.Tensor]) -> torch.Tensor:
        """`Step.match` of all steps, (layers, K, all images, 3)."""
        rates = [rate_scale(self.plan.injected(t), self.graph.levels) for t in self.times]
        scale = torch.tensor(rates, device=self.device)
        resting, result = (~self.running).nonzero().flatten(), []
        for name in self.layers:
            goal, start = nhwc(wanted[name]).flatten(1).to(torch.int16), self.memory.neurons[name].n
            gaps = torch.zeros(len(scale), len(goal), 3, dtype=torch.int64, device=self.device)
            if len(resting):
                gaps[:, resting] = _constant_gaps(start[resting], goal[resting], scale)
            if len(self.images):
                start, signal = self.before[name][self.images], self.spikes[name]
                if len(signal.data):
                    spikes = signal.data.view(*self.size, -1)
                    gaps[:, self.images] = count_gaps(spikes, signal.zero, start, goal[self.images], scale)
                else:
                    gaps[:, self.images] = _constant_gaps(start, goal[self.images], scale)
            result.append(gaps)
        return torch.stack(result)

    # rules of the walk

    def _inject(self, node: g.Input) -> Rows:
        multiples, injected = self.network.multiples, self.network.injected
        data = self._once(node, lambda x: torch.cat([x * times for times in multiples]), self.memory.pixels)
        first = [multiples.index(injected[(t - 1) % len(injected)]) * len(self.running) for t in self.times]
        rows = torch.tensor(first, device=self.device)[:, None] + self.images
        return Rows(data, torch.where(self.awake[:, None], rows, -1))

    def _convolve(self, node: g.Conv, x: Signal | Rows) -> Rows | Events:
        convolution = self.network.convolutions[node.name]
        if _is_constant(x):
            return Rows(self._once(node, convolution, x.data), x.rows, node.name)
        x, none = self._dense(x), torch.full(self.size, -1, device=self.device)
        if len(x.data):
            sops = self._count_sops(node, x)
            some = sops > 0
            if node.name in self.network.lazy:
                return Rows(x.data[:0], none)
            if self._are_few(node, x, sops, int(some.sum())):
                return Events(x, some.view(self.size), node)
            if len(data := chosen_rows(x.data, some)):
                rows = torch.where(some, some.cumsum(0) - 1, -1).view(self.size)
                return Rows(nhwc(convolution(nchw(data), x.zero)), rows, node.name)
        nothing = Signal(x.data[:0], x.zero).floats(self.dtype)
        return Rows(nhwc(convolution(nchw(nothing))), none, node.name)

    def _fire(self, node: g.Neuron, x: Signal | Rows | Events) -> Signal:
        layer = self._layer(node, x)
        counted = node.name in self.readouts.sources or self.extras.compare is not None
        if counted:
            self.before[node.name] = layer.n.clone()
        fired = self.fired[self.layers.index(node.name)]
        if isinstance(x, Events):
            sent = self._follow(node, layer, x, fired)
        else:
            self.memory.shortcuts.active.pop(node.name, None)
            sent = self._scan(node, layer, x, fired)
        if counted or self.extras.record:
            self.spikes[node.name] = sent
        return sent

    def _read_out(self, node: g.Readout, x: Signal | Rows) -> None:
        if node.name not in self.network.outputs:
            data = nchw(self._dense(x).floats(self.dtype))
            self.readouts.sums[node.name] = add_up(self.memory, node.name, data, self.images)

    def _other(self, node: g.Node, *inputs: Signal | Rows) -> Signal | Rows:
        # a max pool of pixels is homogeneous: what it sends at each wake step is the pooled pixels, as a linear op does
        linear = node.spiking is g.Spiking.LINEAR
        if len(inputs) == 1 and _is_constant(inputs[0]) and (linear or isinstance(node, g.MaxPool)):
            return Rows(self._once(node, node.compute, inputs[0].data), inputs[0].rows)
        signals = [self._dense(x) for x in inputs]
        if linear:
            return move(node, signals, self.dtype)
        return difference(self.memory, node, signals[0], self.images, len(self.times))

    # what they are made of

    def _once(self, node: g.Node, function: Callable[[torch.Tensor], torch.Tensor], data: torch.Tensor) -> torch.Tensor:
        """`function` of what depends on the pixels alone, (R, H, W, C); computed at its first use."""
        constant = self.memory.shortcuts.constant
        if node.name not in constant:
            constant[node.name] = nhwc(function(nchw(data)))
        return constant[node.name]

    def _count_sops(self, node: g.Conv, x: Signal) -> torch.Tensor:
        """(K*B,) synaptic operations of a signal, noted where it is one of spikes, with its largest magnitude."""
        synapses = self.network.synapses(node, *x.data.shape[1:3])
        if x.is_spikes:
            sops, peaks = weigh(x.data.flatten(1, 2), x.zero, synapses)
        else:
            sops, peaks = count_sops(nchw(x.data), synapses.view(x.data.shape[1:3])), largest(nchw(x.data))
        if node.name in self.network.spiking:
            row = self.network.spiking[node.name]
            self.sops[row], self.peaks[row] = sops.view(self.size), peaks.view(self.size)
        return sops

    def _are_few(self, node: g.Conv, x: Signal, sops: torch.Tensor, steps: int) -> bool:
        """Whether spikes are followed one by one: few in these steps, and the rule stays the same from here on."""
        if not (node.name in self.network.to_neurons and x.is_spikes and compiled(self.device)):
            return False
        if x.data.shape[3] % 8 or not self.plan.may_rest(self.times[0], self.network.layers):
            return False
        dense = node.weight.numel() // node.groups * x.data.shape[1] * x.data.shape[2] * steps
        return bool(sops.sum() < SPARSE * dense / (node.stride[0] * node.stride[1]))

    def _layer(self, node: g.Neuron, x: Signal | Rows | Events) -> Neurons:
        """The neurons of a layer; at rest before the first step."""
        if node.name not in self.memory.neurons:
            assert not isinstance(x, Events)  # they come after wake
            height, width, channels = x.data.shape[1:]
            start = self.network.start[node.name]
            v = start.new_empty(len(self.running), height * width, channels).copy_(start).flatten(1)
            n = torch.zeros_like(v, dtype=torch.int16)
            self.memory.neurons[node.name] = Neurons(v, n, (height, width, channels))
        return self.memory.neurons[node.name]

    def _follow(self, node: g.Neuron, layer: Neurons, x: Events, fired: torch.Tensor) -> Signal:
        """The spikes of neurons that few spikes reach; `fired` (3, K, B) is written."""
        active = self.memory.shortcuts.active.get(node.name)
        if active is None:
            active = torch.ones(len(self.running), layer.shape[0] * layer.shape[1], dtype=torch.uint8)
            self.memory.shortcuts.active[node.name] = active
        neurons = self._neurons(node, layer)
        weight, geometry = self.network.to_neurons[x.conv.name], (x.conv.stride, x.conv.padding, x.conv.dilation)
        spikes = x.spikes.data.unflatten(0, self.size)
        sent, count = events(neurons, spikes, x.spikes.zero, x.some, weight, geometry, active, layer.shape)
        return self._sent(node, sent.flatten(0, 1), count, fired)

    def _scan(self, node: g.Neuron, layer: Neurons, x: Signal | Rows, fired: torch.Tensor) -> Signal:
        """The spikes of all neurons of a layer; `fired` (3, K, B) is written."""
        if isinstance(x, Signal):
            x = Rows(x.floats(self.dtype), torch.arange(len(x.data), device=self.device).view(self.size))
        steady = self._rules(node).steady
        if steady and self.memory.shortcuts.silent.get(node.name) and not self.wakes and not bool((x.rows >= 0).any()):
            return Signal(torch.empty(0, *layer.shape, dtype=torch.uint8, device=self.device), self.plan.burst)
        neurons = self._neurons(node, layer)
        bias = self._bias(x.bias, self.network.tiles, len(neurons.theta))
        sent, count = scan(neurons, x.data.flatten(1), x.rows, bias, layer.shape[2])
        return self._sent(node, sent.view(-1, *layer.shape), count, fired)

    def _sent(self, node: g.Neuron, data: torch.Tensor, count: torch.Tensor, fired: torch.Tensor) -> Signal:
        """Spikes of a layer at zero point gamma, and how many, as a signal; silence has no rows."""
        fired.copy_(count)
        self.memory.shortcuts.silent[node.name] = not bool(count[:, -1].any())
        return Signal(data if bool(count.any()) else data[:0], self.plan.burst)

    def _neurons(self, node: g.Neuron, layer: Neurons) -> Layer:
        """A layer as the forms of the rule take it."""
        network, name, rules = self.network, node.name, self._rules(node)
        state = (network.theta[name], layer.v, layer.n, self.images, rules.limits, rules.lows)
        which = None if node.thresholds is None else rules.which
        return Layer(*state, self.plan.burst, network.least[name], network.tables[name], which)

    def _rules(self, node: g.Neuron) -> Rules:
        """Those of the chunk's steps."""
        layer = self.network.depth[node.name] - 1
        key = self.plan.waiting(layer)
        if key not in self.rules:
            before = max(self.times[0] - 1, 1)
            rules = [self.plan.rule(self.neuron, t, layer) for t in (before, *self.times)]
            limits = torch.tensor([NO_LIMIT if r.limit is None else r.limit for r in rules[1:]], dtype=torch.int16)
            lows = torch.tensor([r.low for r in rules[1:]], dtype=self.dtype)
            which = torch.tensor([self.network.ramps.index(r.ramp) for r in rules[1:]])
            limits, lows, which = (x.to(self.device) for x in (limits, lows, which))
            self.rules[key] = Rules(limits, lows, which, len(set(rules)) == 1)
        return self.rules[key]

    def _bias(self, name: str | None, tables: dict[str, torch.Tensor], length: int) -> torch.Tensor:
        """What is added at each step, (K, length)."""
        steps = len(self.times)
        if name is None or not self.wakes:
            return torch.zeros(steps, length, dtype=self.dtype, device=self.device)
        first = self.times[0] - 1
        if first + steps <= len(tables[name]):
            return tables[name][first : first + steps]
        times = torch.arange(first, first + steps, device=self.device) % len(self.network.injected)
        return tables[name][times] * self.awake[:, None]

    def _dense(self, x: Signal | Rows) -> Signal:
        """All steps of a signal, its bias added."""
        if isinstance(x, Signal):
            return x
        some = (x.rows >= 0).flatten()
        if not self.wakes and not bool(some.any()):
            return Signal(x.data[:0])
        if len(x.data):
            data = torch.where(some[:, None, None, None], x.data[x.rows.flatten().clamp(min=0)], 0)
        else:
            data = x.data.new_zeros(x.rows.numel(), *x.data.shape[1:])
        if x.bias is not None and self.wakes:
            bias = self._bias(x.bias, self.network.bias, data.shape[-1])
            data = (data.unflatten(0, self.size) + bias[:, None, None, None]).flatten(0, 1)
        return Signal(data)


def _is_constant(x: Signal | Rows | Events) -> TypeGuard[Rows]:
    """Whether a signal depends on the pixels alone."""
    return isinstance(x, Rows) and x.bias is None


def _constant_gaps(counts: torch.Tensor, wanted: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`count_gaps` (K, B, 3) of counts that stay."""
    silence = torch.zeros(1, *counts.shape, dtype=torch.uint8, device=counts.device)
    result: list[torch.Tensor] = []
    for k in range(len(scale)):
        same = k > 0 and torch.equal(scale[k], scale[k - 1])
        result.append(result[-1] if same else count_gaps(silence, 0, counts, wanted, scale[k : k + 1])[0])
    return torch.stack(result)
