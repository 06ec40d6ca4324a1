"""Neurons, schedules and corrections that cannot be, or that an engine cannot run."""

from functools import partial
from pathlib import Path

import conftest
import pytest
from conftest import small_images
from simulated import OddSteps, silent_step, spiking

import casc_det
from casc_det.conversion.integer import to_integer
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS, Kind
from casc_det.neurons.rule import NeuronState
from casc_det.neurons.schedule import SCHEDULES, Schedule
from casc_det.simulation import SimulationSettings, Simulator

simulate = partial(conftest.simulate, engine="reference")  # tests/simulation/test_fast.py holds the fast one to it


@pytest.mark.parametrize("integer", [False, True])
def test_own_neurons_and_schedules_are_refused_where_they_cannot_be_run(integer, monkeypatch):
    graph, images = spiking("conv"), small_images()
    graph = to_integer(graph) if integer else graph
    images = images.to(graph.dtype)
    list(conftest.simulate(graph, images, 5, "if"))  # what was prepared and checked does not count for another
    monkeypatch.setitem(NEURONS, "mine", silent_step)
    monkeypatch.setitem(NEURONS, "if", silent_step)
    monkeypatch.setitem(SCHEDULES, "odd", lambda levels, *_: OddSteps(levels, None))
    monkeypatch.setitem(SCHEDULES, "wake3", lambda levels, *_: Schedule(levels, 3))
    for kind in ("mine", "if"):
        with pytest.raises(ArgumentError, match=f"^neuron: '{kind}' is an own kind.*use engine='reference'$"):
            conftest.simulate(graph, images, 5, kind)
    with pytest.raises(ArgumentError, match="^schedule: 'odd' is an own OddSteps.*use engine='reference'$"):
        conftest.simulate(graph, images, 5, "cif", "odd")
    for kind, plan in (("mine", "wsc"), ("cif", "odd"), ("cif", "wake3")):
        with pytest.raises(ArgumentError, match="^timesteps: 'auto' needs"):
            simulate(graph, images, "auto", kind, plan)
    monkeypatch.setitem(SCHEDULES, "wsc", SCHEDULES["wake3"])
    with pytest.raises(ArgumentError, match="^timesteps: 'auto' needs neuron='cif' and schedule='wsc' of casc_det"):
        simulate(graph, images, "auto")


@pytest.mark.parametrize("name", ["hysteresis", "delay"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), True, "much"])
def test_variants_that_cannot_work_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name}: expected a number"):
        simulate(spiking("conv"), small_images(), **{name: value})


@pytest.mark.parametrize(("name", "known"), [("neuron", NEURONS), ("schedule", SCHEDULES)])
def test_unknown_neuron_or_schedule_is_refused(name, known):
    with pytest.raises(ArgumentError, match=f"^{name}: expected one of {', '.join(known)}, got 'lif'$"):
        simulate(spiking(), small_images(), 4, **{name: "lif"})


@pytest.mark.parametrize("kind", ["if", "signed_if", "lazy"])
def test_hysteresis_that_would_change_nothing_is_refused(kind, monkeypatch):
    monkeypatch.setitem(NEURONS, "lazy", Kind("lazy", "lazy CIF", low=-0.5, limited=True, rests=False))
    with pytest.raises(ArgumentError, match=f"^hysteresis: it changes nothing with neuron='{kind}'; leave it 0[^\n]*$"):
        SimulationSettings(neuron=kind, hysteresis=0.5)
    assert SimulationSettings(neuron=kind, delay=0.5).delay == 0.5


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("value", [3, None, "cif", Kind])
def test_what_is_no_kind_and_no_function_is_no_neuron(engine, value, monkeypatch):
    monkeypatch.setitem(NEURONS, "bad", value)
    with pytest.raises(ArgumentError, match=r"^neuron: NEURONS\['bad'\] is no Kind and no step function, got [^\n]*$"):
        SimulationSettings(engine, neuron="bad")


@pytest.mark.parametrize(
    "result",
    [
        lambda current, state: current,
        lambda current, state: None,
        lambda current, state: (current, state, 0),
        lambda current, state: (current, tuple(state)),
        lambda current, state: (current[:1], state),
        lambda current, state: (current > 0, state),
        lambda current, state: (current, NeuronState(state.v, 0)),
    ],
)
def test_an_own_step_that_returns_something_else_is_named(result, monkeypatch):
    monkeypatch.setitem(NEURONS, "mine", lambda current, state, params: result(current, state))
    expected = r"^neuron: the step of 'mine' must return \(spikes, NeuronState\(v, n\)\), each a tensor \(2, "
    with pytest.raises(ArgumentError, match=rf"{expected}[^\n]*$"):
        list(simulate(spiking("conv"), small_images(), 3, "mine"))


@pytest.mark.parametrize("graph", ["yolov8n-cq8", Path("x.safetensors"), None, (1, 2)])
def test_what_is_no_graph_is_not_simulated(graph):
    way = rf"casc_det.load\('{graph}'\)" if isinstance(graph, str | Path) else "what casc_det.load or convert"
    for use in (Simulator, lambda graph: casc_det.simulate(graph, small_images())):
        with pytest.raises(ArgumentError, match=f"^graph: expected a SpikingGraph, got .*; pass {way}[^\n]*$"):
            use(graph)
