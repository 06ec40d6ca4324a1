"""Neurons, schedules and corrections that cannot be, or that an engine cannot run."""

from functools import partial

import conftest
import pytest
from conftest import small_images
from simulated import OddSteps, silent_step, spiking

from casc_det.conversion.integer import to_integer
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS
from casc_det.neurons.schedule import SCHEDULES, Schedule

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
