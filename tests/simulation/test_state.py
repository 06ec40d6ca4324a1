"""The state of a simulation: kept, forked and saved, it gives the same steps, in both engines."""

from dataclasses import replace

import pytest
import torch
from conftest import EXACT_OPS, small_graph, small_images
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from casc_det import graph as g
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError
from casc_det.graph.file import CHECKSUM, checksum
from casc_det.neurons.rule import NeuronState
from casc_det.simulation import SimulationSettings, Simulator
from casc_det.simulation.fast import compiling
from casc_det.simulation.state import KEY, made_of

ENGINES = ("fast", "reference")


def spiking(*ops: str, seed: int = 0) -> g.SpikingGraph:
    return to_integer(convert_graph(small_graph(*ops, seed=seed))[0])


def simulator(*ops: str, engine: str = "fast", **fields) -> Simulator:
    return Simulator(spiking(*ops), SimulationSettings(engine, **fields))


def imaged(batch: int = 2) -> torch.Tensor:
    images = small_images(batch).float()
    images[0] /= 8  # comes to rest at another step
    return images


def same(first, second) -> bool:
    """Whether steps tell the same."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True)]
    fields = ("quiescent", "fired", "sops_by_layer", "match")
    equal = all(torch.equal(getattr(a, f), getattr(b, f)) for a, b in pairs for f in fields)
    kept = [(a.spikes, b.spikes) for a, b in pairs] + [(a.readout, b.readout) for a, b in pairs]
    return equal and all(torch.equal(x[name], y[name]) for x, y in kept for name in x)


def tensors(state) -> list[torch.Tensor]:
    parts = [x for _, neuron in sorted(state.neurons.items()) for x in neuron]
    rest = [x for part in (state.sums, state.sent) for _, x in sorted(part.items())]
    return [state.pixels, state.quiescent, *parts, *rest]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=10)
@given(st.lists(st.sampled_from(EXACT_OPS), max_size=3), st.lists(st.integers(1, 6), min_size=1, max_size=6))
@example(list(EXACT_OPS), [1, 5, 2, 9])
def test_a_state_that_is_forked_anywhere_gives_the_same_steps(engine, compiled, ops, cuts):
    ours, images = simulator(*ops, engine=engine), imaged()
    wanted = {name: state.n for name, state in ours.advance(ours.start(images), 9)[1][-1].states.items()}
    watch = {"record": True, "compare": wanted}
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr(compiling, "numba", None)
        whole = list(ours.run(images, sum(cuts), **watch))
        state, steps = ours.start(images), []
        for cut in cuts:
            before = [x.clone() for x in tensors(state)]
            after, once = ours.advance(state, cut, **watch)
            _, twice = ours.advance(state, cut, **watch)
            assert same(once, twice) and all(map(torch.equal, before, tensors(state)))
            state, steps = after, steps + once
    assert same(whole, steps) and state.t == sum(cuts) and [step.t for step in steps] == list(range(1, state.t + 1))
    assert all(torch.equal(x.n, steps[-1].counts[name]) for name, x in state.neurons.items())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t", [0, 2, 7, 40])
def test_a_state_that_was_saved_goes_on(engine, t, tmp_path):
    ours, images = simulator("conv", "max", "add", engine=engine, hysteresis=0.25, delay=1.0), imaged()
    state = ours.advance(ours.start(images), t)[0] if t else ours.start(images)
    loaded = simulator("conv", "max", "add", engine=engine, hysteresis=0.25, delay=1.0).load(
        state.save(tmp_path / "x.safetensors")
    )
    assert loaded.t == t and all(map(torch.equal, tensors(state), tensors(loaded)))
    compare = {name: x.n for name, x in state.neurons.items()} if t else None
    steps = [ours.advance(one, 9, True, compare)[1] for one in (state, loaded)]
    if not t:
        assert all(torch.equal(a.fired, b.fired) for a, b in zip(*steps, strict=True))
    else:
        assert same(*steps)


def test_what_the_fast_engine_noted_says_nothing_of_another_state():
    """Other pixels or potentials in a state: nothing that was computed of the old ones is used."""
    ours, slow = simulator("conv", "conv"), simulator("conv", "conv", engine="reference")
    fast, reference = (s.advance(s.start(imaged()), 30)[0] for s in (ours, slow))
    assert fast.quiescent.all()
    raised = lambda state: {name: NeuronState(x.v + 1000, x.n) for name, x in state.neurons.items()}
    again = lambda state: replace(state, t=0, quiescent=~state.quiescent, pixels=255 - state.pixels)
    for change in (again, lambda state: replace(again(state), neurons=raised(state))):
        steps = [s.advance(change(x), 12)[1] for s, x in ((ours, fast), (slow, reference))]
        assert all(torch.equal(a.fired, b.fired) for a, b in zip(*steps, strict=True))
        assert sum(int(step.fired.sum()) for step in steps[0]) > 0


def test_states_of_others_are_refused(tmp_path):
    ours, images = simulator("conv"), imaged()
    state = ours.advance(ours.start(images), 3)[0]
    path = state.save(tmp_path / "state.safetensors")
    other = Simulator(spiking("conv", seed=1))
    variant = simulator("conv", delay=2.0)
    for one, message in ((other, "of another graph"), (variant, "of other settings")):
        with pytest.raises(ArgumentError, match=f"^state: it is {message}.*[^\n]$"):
            one.advance(state, 1)
        with pytest.raises(ArgumentError, match=f"^state: '.*' is {message}.*[^\n]$"):
            one.load(path)
    assert simulator("conv").advance(state, 1)[0].t == 4  # the same graph, made again
    with pytest.raises(ArgumentError, match="^state: expected a State"):
        ours.advance(images, 1)
    with pytest.raises(ArgumentError, match="^steps: expected an integer from 1"):
        ours.advance(state, 0)
    for damage in (lambda data: data[:-9], lambda data: data[:50], lambda data: b"", lambda data: None):
        data = damage(path.read_bytes()) if path.exists() else None
        (tmp_path / "damaged").unlink(missing_ok=True)
        if data is not None:
            (tmp_path / "damaged").write_bytes(data)
        with pytest.raises(ArgumentError, match="^state: '.*' is no state of a simulation"):
            ours.load(tmp_path / "damaged")


def test_what_a_state_is_made_of_changes_with_whatever_a_simulation_depends_on():
    graph = spiking("conv", "max")
    conv, neuron = graph.of_type(g.Conv)[1], graph.of_type(g.Neuron)[0]
    edit = lambda node, **fields: [replace(x, **fields) if x is node else x for x in graph.nodes]
    weight = conv.weight.clone()
    weight.view(-1)[0] += 1
    others = [
        replace(graph, nodes=edit(conv, weight=weight)),
        replace(graph, nodes=edit(conv, padding=(1, 1))),
        replace(graph, nodes=edit(neuron, theta=neuron.theta + 1)),
        replace(graph, integer=False),
        g.moved(graph, torch.float64),
    ]
    assert len({made_of(x) for x in (graph, *others)}) == 1 + len(others)
    assert made_of(graph) == made_of(spiking("conv", "max"))


@pytest.mark.parametrize("steps", ["auto", 0, -1, 2.0, True, None, 32768])
def test_what_is_no_number_of_steps_is_refused(steps):
    ours = simulator("conv")
    state = ours.start(imaged())
    with pytest.raises(ArgumentError, match="^steps: expected an integer from 1 to 32767, got [^\n]*$"):
        ours.advance(state, steps)
    with pytest.raises(ArgumentError, match="^steps: expected an integer from 1 to 32764 after 3 steps, got [^\n]*$"):
        ours.advance(ours.advance(state, 3)[0], steps if steps != 32768 else 32765)


def test_a_state_file_with_any_changed_byte_is_refused(tmp_path):
    ours = simulator("conv")
    path = ours.advance(ours.start(imaged()), 3)[0].save(tmp_path / "state.safetensors")
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for at in (data.index(b"fast"), data.index(CHECKSUM.encode()) + 25, start, start + 100, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArgumentError, match="^state: '.*' is damaged, its checksum does not fit its content"):
            ours.load(path)
    tensors, text = load_file(path), "{}"
    save_file(tensors, path, {KEY: text})
    with pytest.raises(ArgumentError, match="^state: '.*' is damaged, its checksum"):
        ours.load(path)
    save_file(tensors, path, {KEY: text, CHECKSUM: checksum(text, tensors)})
    with pytest.raises(ArgumentError, match="^state: '.*' is no state of a simulation; it lacks a part"):
        ours.load(path)
    save_file(tensors, path)
    with pytest.raises(ArgumentError, match="^state: '.*' is no state of a simulation; give a file that State.save"):
        ours.load(path)


def test_a_state_is_saved_over_no_other_file(tmp_path):
    image = tmp_path / "x.jpg"
    image.write_bytes(b"mine")
    for path in (image, str(image), tmp_path / "x", None):
        with pytest.raises(ArgumentError, match="^path: expected a file that ends in .safetensors, got"):
            simulator("conv").start(imaged()).save(path)
    assert [x.name for x in tmp_path.iterdir()] == ["x.jpg"] and image.read_bytes() == b"mine"


def test_steps_and_states_are_shown_alike():
    ours = simulator("conv")
    state, steps = ours.advance(ours.start(imaged()), 40)
    assert "2 of 2 images quiescent" in repr(state) and "2 of 2 images quiescent" in repr(steps[-1])
    assert repr(ours) == f"Simulator({ours.graph!r}, {ours.settings})" and "\n" not in repr(ours)
