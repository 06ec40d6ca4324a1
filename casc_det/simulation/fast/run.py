"""The fast engine: layer by layer over all time steps of a chunk.

Nothing in a YOLO feeds back, so a layer can be given all steps of a chunk at once: one convolution over K*B pictures,
then one scan over time for its neurons. Steps without a spike are left out of the convolutions, pictures at rest out of
everything. What it computes is what the reference engine computes. Inside, feature maps are (R, H, W, C).
"""

from collections.abc import Iterator
from functools import partial

import torch

from casc_det import graph as g
from casc_det.neurons import NeuronState
from casc_det.simulation.fast.compiling import compiled, follow_threads
from casc_det.simulation.fast.counting import count_gaps, weigh
from casc_det.simulation.fast.network import Network
from casc_det.simulation.fast.neurons import NO_LIMIT, Layer, events, scan
from casc_det.simulation.fast.signals import Events, Rows, Train, chosen_rows, move, nchw, nhwc, spread
from casc_det.simulation.fast.temporal import Sums
from casc_det.simulation.step import Step

CHUNK = 16  # steps, at most
SPARSE = 1 / 25  # spikes that pass fewer synapses than this share of a convolution are followed one by one
PIXELS = 16 * 640 * 640  # input pixels of a chunk: bounds the memory


class Totals:
    """The summed currents of the readouts after each step of a chunk.

    Where the readout's convolution reads neurons, its sum is that convolution of their counts, computed for the steps
    that someone asks for; else it is added up step by step.

    Attributes:
        starts: counts (B, N) before the chunk, and trains: spikes in it, of the neurons that such convolutions read.
        sums: (K or 1, pictures that run, C, H, W) of the other readouts.
    """

    def __init__(self, run: "Run", times: range):
        self.run, self.times, self.alive = run, times, run.alive
        self.sums: dict[str, torch.Tensor] = {}
        self.trains: dict[str, Train] = {}
        self.counts: dict[str, torch.Tensor] = {}  # (K, pictures that run, N) after each step
        sources = [source for _, source in run.network.outputs.values()]
        self.starts = {name: run.neurons[name][1] if name in run.neurons else None for name in sources}

    def after(self, k: int, name: str) -> torch.Tensor:
        """The sum (B, C, H, W) of a readout after step `times[k]`."""
        run = self.run
        if name not in run.network.outputs:
            if not len(self.alive):
                return run.sums.now[name]
            sums = self.sums[name]
            return spread(sums[min(k, len(sums) - 1)], run.sums.now[name], self.alive, 0)
        node, source = run.network.outputs[name]
        counts, train = self.starts[source], self.trains.get(source)
        if train is not None and len(train.data):
            if source not in self.counts:
                spikes = train.data.view(len(self.times), len(self.alive), -1)
                sent = spikes.cumsum(0, dtype=torch.int16)
                zeros = train.zero * torch.arange(1, len(sent) + 1, dtype=torch.int16, device=sent.device)
                self.counts[source] = sent.add_(counts[self.alive] - zeros[:, None, None])
            counts = spread(self.counts[source][k], counts, self.alive, 0)
        counts = nchw(counts.to(run.dtype).view(run.batch, *run.neurons[source][2]))
        sums = node.compute(counts, integer=run.graph.integer)
        return sums + run.graph.summed_bias(node, run.plan.divisor(self.times[k]))


@torch.no_grad()
def run_fast(network, images, limit: int, until_quiescent: bool, neuron, plan, record, compare, at) -> Iterator[Step]:
    """See `casc_det.simulation.simulate`."""
    follow_threads()
    run, at_rest = Run(network, images, neuron, plan, record, compare), None
    t, stops = 0, sorted({*at, *([plan.wake] if plan.wake else []), limit})
    while t < limit:
        pixels = max(1, len(run.alive)) * images.shape[2] * images.shape[3]
        longest = min(max(1, PIXELS // pixels), CHUNK)
        end = min(t + longest, next(stop for stop in stops if stop > t))
        for step in run.chunk(range(t + 1, end + 1)):
            if final := bool(step.quiescent.all()):
                at_rest = at_rest or run.states()
                step.states = at_rest
            elif step.t == limit or step.t in at:
                step.states = run.states()
            yield step
            if until_quiescent and final:
                return
        t = end


class Run:
    """The state of one simulation."""

    def __init__(self, network: Network, images: torch.Tensor, neuron: str, plan, record: bool, compare):
        self.network, self.graph = network, network.graph
        self.plan, self.neuron, self.record = plan, neuron, record
        self.pixels = nhwc(self.graph.pixels(images))
        self.batch, self.dtype, self.device = len(images), images.dtype, images.device
        self.still: dict[str, torch.Tensor] = {}  # what depends on the pixels alone: the same at each wake step
        self.neurons: dict[str, tuple] = {}  # v, n (B, N), and (H, W, C)
        self.settled: dict[str, bool] = {}  # no neuron of the layer fired in the last step
        self.sums = Sums(self.batch, self.dtype, self.device)  # of readouts and temporal-difference nodes
        self.hot: dict[str, torch.Tensor] = {}  # see `events`
        self.alive = torch.arange(self.batch, device=self.device)  # pictures that are not at rest
        self.wanted = {name: nhwc(n).flatten(1).to(torch.int16) for name, n in (compare or {}).items()}
        self.match = torch.zeros(
            len(self.graph.of_type(g.Neuron)), self.batch, 3, dtype=torch.int64, device=self.device
        )

    def states(self) -> dict[str, NeuronState]:
        """Copies of all potentials and counts, (B, C, H, W)."""
        result = {}
        for name, (v, n, shape) in self.neurons.items():
            v, n = (nchw(x.clone().view(-1, *shape)) for x in (v, n))
            result[name] = NeuronState(v, n.to(v.dtype))
        return result

    def chunk(self, times: range) -> Iterator[Step]:
        """Run the steps `times` and yield them."""
        self.awake = torch.tensor([self.plan.awake(t) for t in times], device=self.device)
        self.times, self.rules, levels = times, {}, self.graph.levels
        self.scale = torch.tensor([[levels, min(t, levels)] for t in times], device=self.device)  # see `count_gaps`
        resting = torch.tensor([self.plan.may_rest(t, self.network.layers) for t in times], device=self.device)
        size = (len(times), len(self.alive))
        layers = self.graph.of_type(g.Neuron)
        fired = torch.zeros(len(layers), 2, *size, dtype=torch.int64, device=self.device)
        passed = torch.zeros(len(self.network.spiking), *size, dtype=torch.float64, device=self.device)
        counters = dict(zip([node.name for node in layers], fired, strict=True))
        matches = torch.zeros(len(layers), *size, 3, dtype=torch.int64, device=self.device)
        matching = dict(zip([node.name for node in layers], matches, strict=True))
        signals: dict[str, Train | Rows] = {}
        totals = Totals(self, times)
        spikes: dict[str, Train] = {}
        for node in self.graph.nodes if len(self.alive) else ():
            inputs = [signals[name] for name in node.inputs]
            match node:
                case g.Input():
                    rows = torch.where(self.awake[:, None], self.alive, -1)
                    signal = Rows(self.pixels, rows)
                case g.Conv():
                    signal = self._convolve(node, inputs[0], passed)
                case g.Neuron():
                    self._prepare_neurons(node, inputs[0])
                    if node.name in totals.starts:
                        totals.starts[node.name] = self.neurons[node.name][1].clone()
                    before = self.neurons[node.name][1][self.alive] if self.wanted else None
                    signal = spikes[node.name] = self._fire(node, inputs[0], counters[node.name])
                    if self.wanted:
                        self._match(node, signal, before, matching[node.name])
                case g.Readout():
                    signal = None
                    if node.name not in self.network.outputs:
                        totals.sums[node.name] = self.sums.add_up(node.name, self._train(inputs[0]), self.alive)
                case _ if self._is_still(inputs) and not isinstance(node, g.Pointwise):
                    signal = Rows(self._once(node, lambda op, x: op.compute(x), inputs[0].data), inputs[0].rows)
                case _ if node.spiking is g.Spiking.TEMPORAL:
                    signal = self.sums.difference(node, self._train(inputs[0]), self.alive, len(times))
                case _:
                    signal = move(node, [self._train(x) for x in inputs], self.dtype)
            signals[node.name] = signal
            for name in node.inputs:
                if self.network.last_use[name] == node.name:
                    signals.pop(name, None)
        totals.trains = {name: spikes[name] for name in totals.starts if name in spikes}
        silent = (fired.sum((0, 1)) == 0) & resting[:, None]
        for k, t in enumerate(times):
            yield Step(
                self.graph,
                self.plan.divisor(t),
                t,
                self._all(silent[k], torch.ones(self.batch, dtype=torch.bool, device=self.device)),
                self._all(fired[:, :, k], fired.new_zeros(*fired.shape[:2], self.batch)),
                self._all(passed[:, k], passed.new_zeros(len(passed), self.batch)),
                partial(totals.after, k),
                states={},
                spikes=self._recorded(spikes, k) if self.record else None,
                match=self._all(matches[:, k], self.match, 1) if self.wanted else None,
            )
        self.match = self._all(matches[:, -1], self.match, 1)
        self.alive = self.alive[~silent[-1]]

    def _all(self, x: torch.Tensor, rest: torch.Tensor, dim: int = -1) -> torch.Tensor:
        """The values of all pictures: `x` of those that run, `rest` of the others."""
        return spread(x, rest, self.alive, dim)

    def _recorded(self, spikes: dict[str, Train], k: int) -> dict[str, torch.Tensor]:
        result = {}
        for name, (_, _, shape) in self.neurons.items():
            none = torch.zeros(self.batch, *shape, dtype=self.dtype, device=self.device)
            if name in spikes and len(spikes[name].data):
                chunk = spikes[name].floats(self.dtype).view(-1, len(self.alive), *shape)
                none = self._all(chunk[k], none, 0)
            result[name] = nchw(none)
        return result

    def _is_still(self, inputs: list) -> bool:
        """Whether the only input depends on the pixels alone."""
        return len(inputs) == 1 and isinstance(inputs[0], Rows) and inputs[0].bias is None

    def _once(self, node: g.Node, function, data: torch.Tensor) -> torch.Tensor:
        """function(node, data) of what depends on the pixels alone; computed at its first use."""
        if node.name not in self.still:
            self.still[node.name] = nhwc(function(node, nchw(data)))
        return self.still[node.name]

    def _convolve(self, node: g.Conv, x: Train | Rows, passed: torch.Tensor) -> Rows:
        convolution = self.network.convolutions[node.name]
        if self._is_still([x]):
            return Rows(self._once(node, lambda _, data: convolution(data), x.data), x.rows, node.name)
        x = self._train(x)
        steps = passed.shape[1:]
        if not len(x.data):
            empty = nhwc(convolution(nchw(x.floats(self.dtype))))
            return Rows(empty, torch.full(steps, -1, device=self.device), node.name)
        fan = self.network.fan(node, *x.data.shape[1:3])
        if x.is_spikes:
            weight = weigh(x.data.flatten(1, 2), x.zero, fan)
        else:
            weight = (x.data.abs().sum(3, dtype=torch.float64).flatten(1) * fan).sum(1)
        if node.name in self.network.spiking:
            passed[self.network.spiking[node.name]] = weight.view(steps)
        if node.name in self.network.lazy:
            return Rows(x.data[:0], torch.full(steps, -1, device=self.device))
        some = weight > 0
        settling = self.plan.may_rest(self.times[0], self.network.layers)  # from here on the rule is the same
        if node.name in self.network.to_neurons and settling and x.is_spikes:
            dense = node.weight.numel() // node.groups * x.data.shape[1] * x.data.shape[2] * int(some.sum())
            dense /= node.stride[0] * node.stride[1]
            if weight.sum() < SPARSE * dense and x.data.shape[3] % 8 == 0 and compiled(self.device):
                return Events(x, some.view(steps), node)
        rows = torch.where(some, some.cumsum(0) - 1, -1).view(steps)
        data = chosen_rows(x.data, some)
        if not len(data):
            return self._convolve(node, Train(data, x.zero), passed)
        return Rows(nhwc(convolution(nchw(data), x.zero)), rows, node.name)

    def _prepare_neurons(self, node: g.Neuron, x: Train | Rows | Events) -> None:
        if node.name not in self.neurons:
            shape = x.data.shape[1:]
            v = self.network.start[node.name].repeat(self.batch, shape[0] * shape[1])
            self.neurons[node.name] = (v, torch.zeros_like(v, dtype=torch.int16), shape)

    def _fire(self, node: g.Neuron, x: Train | Rows, fired: torch.Tensor) -> Train:
        """The neurons' spikes; `fired` (2, K, B) is added to."""
        v, n, shape = self.neurons[node.name]
        theta = self.network.theta[node.name]
        if isinstance(x, Events):
            conv, hot = x.conv, self.hot.get(node.name)
            if hot is None:
                hot = torch.ones(self.batch, shape[0] * shape[1], dtype=torch.uint8)
            self.hot[node.name] = hot
            geometry = (conv.stride, conv.padding, conv.dilation)
            weight, spikes = self.network.to_neurons[conv.name], x.train.data.unflatten(0, fired.shape[1:])
            neurons = (theta, v, n, self.alive, *self._rules(node)[:2])
            data, f = events(Layer(*neurons), spikes, x.train.zero, x.some, weight, geometry, hot, shape)
            fired += f
            return self._sent(node, data.flatten(0, 1), fired)
        self.hot.pop(node.name, None)
        if isinstance(x, Train):
            x = Rows(x.floats(self.dtype), torch.arange(len(x.data), device=self.device).view(fired.shape[1:]))
        limits, lows, steady = self._rules(node)
        quiet = steady and not bool(self.awake.any()) and not bool((x.rows >= 0).any())
        if quiet and self.settled.get(node.name):
            return Train(torch.empty(0, *shape, dtype=torch.uint8, device=self.device), 1)
        bias = self._bias(x.bias, self.network.tiles, theta)
        neurons = (theta, v, n, self.alive, limits, lows)
        spikes, f = scan(Layer(*neurons), x.data.flatten(1), x.rows, bias, shape[2])
        fired += f
        return self._sent(node, spikes.view(-1, *shape), fired)

    def _rules(self, node: g.Neuron) -> tuple[torch.Tensor, torch.Tensor, bool]:
        """Limits and lows of the chunk's steps (see `scan`), and whether the step before it had the same."""
        layer = self.network.depth[node.name] - 1
        key = self.plan.waiting(layer)
        if key not in self.rules:
            before = max(self.times[0] - 1, 1)
            rules = [self.plan.rule(self.neuron, t, layer) for t in (before, *self.times)]
            limits = torch.tensor([NO_LIMIT if r.limit is None else r.limit for r in rules[1:]], dtype=torch.int16)
            lows = torch.tensor([r.low for r in rules[1:]], dtype=self.dtype)
            self.rules[key] = (limits.to(self.device), lows.to(self.device), len(set(rules)) == 1)
        return self.rules[key]

    def _match(self, node: g.Neuron, x: Train, before: torch.Tensor, out: torch.Tensor) -> None:
        """Write `Step.match` of a layer into `out` (K, B, 3); before: the counts (B, N) before the chunk."""
        wanted, scale = self.wanted[node.name][self.alive], self.scale
        if len(x.data):
            out[:] = count_gaps(x.data.view(len(self.times), len(self.alive), -1), x.zero, before, wanted, scale)
        else:
            spikes = before.new_zeros(1, *before.shape, dtype=torch.uint8)
            for k in range(len(scale)):
                if k and torch.equal(scale[k], scale[k - 1]):
                    out[k] = out[k - 1]
                else:
                    out[k : k + 1] = count_gaps(spikes, 0, before, wanted, scale[k : k + 1])

    def _sent(self, node: g.Neuron, data: torch.Tensor, fired: torch.Tensor) -> Train:
        self.settled[node.name] = not bool(fired[:, -1].any())
        return Train(data if bool(fired.any()) else data[:0], 1)

    def _bias(self, name: str | None, tables: dict[str, torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """What is added at each step, (K, length of `like`)."""
        steps = len(self.awake)
        if name is None or not bool(self.awake.any()):
            return torch.zeros(steps, len(like), dtype=self.dtype, device=self.device)
        first = (self.times[0] - 1) % self.graph.levels
        if bool(self.awake.all()) and first + steps <= self.graph.levels:
            return tables[name][first : first + steps]
        times = torch.arange(first, first + steps, device=self.device) % self.graph.levels
        return tables[name][times] * self.awake[:, None]

    def _train(self, x: Train | Rows) -> Train:
        """All steps of a signal, its bias added."""
        if isinstance(x, Train):
            return x
        asleep = not bool(self.awake.any())
        if asleep and not bool((x.rows >= 0).any()):
            return Train(x.data[:0])
        if len(x.data):
            data = torch.where((x.rows >= 0).flatten()[:, None, None, None], x.data[x.rows.flatten().clamp(min=0)], 0)
        else:
            data = x.data.new_zeros(x.rows.numel(), *x.data.shape[1:])
        if x.bias is not None and not asleep:
            bias = self._bias(
                x.bias, self.network.bias, x.data[0, 0, 0] if len(x.data) else torch.empty(data.shape[-1])
            )
            data = (data.unflatten(0, x.rows.shape) + bias[:, None, None, None]).flatten(0, 1)
        return Train(data)
