"""Kinds of neurons: parameters of the one rule, found by name and run by both engines."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import simulate, small_graph, small_images

import casc_det
from casc_det import neurons
from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.errors import ArgumentError
from casc_det.neurons import NEURONS, Kind, cif_step, if_step, is_own, kind_of, signed_if_step
from casc_det.neurons.schedule import wsc
from casc_det.simulation import Simulator

LAZY = Kind("lazy", "lazy CIF", low=-0.5, limited=True, rests=False)


def test_each_kind_is_a_file_and_has_a_title():
    kinds = [kind_of(name) for name in NEURONS]
    assert {name: kind.name for name, kind in NEURONS.items()} == {name: name for name in NEURONS}
    assert {"CIF", "IF", "signed IF"} <= {kind.title for kind in kinds}
    shared = {"__init__", "activation", "functions", "kind", "rule", "schedule"}
    assert len(kinds) == len({path.stem for path in Path(neurons.__file__).parent.glob("*.py")} - shared)


def test_cif_alone_comes_to_rest():
    assert [name for name in NEURONS if kind_of(name).rests] == ["cif"]


@pytest.mark.parametrize("integer", [False, True])
def test_an_own_kind_is_run_by_both_engines(integer, monkeypatch):
    monkeypatch.setitem(NEURONS, "lazy", LAZY)
    assert not is_own("lazy") and wsc(4).rule("lazy", 1, 0) == wsc(4).rule("lazy", 9, 0) == (4, -0.5, None)
    graph, images = convert_graph(small_graph("conv", "add"))[0], small_images()
    graph = to_integer(graph) if integer else graph
    images = images.to(graph.dtype)
    cells = (("lazy", "fast"), ("cif", "fast"), ("lazy", "reference"))
    runs = [simulate(graph, images, 12, name, engine=engine) for name, engine in cells]
    different = False
    for fast, plain, reference in zip(*runs, strict=True):
        assert torch.equal(fast.fired, reference.fired)
        different |= not torch.equal(fast.fired, plain.fired)
    assert different
    with pytest.raises(ArgumentError, match="^timesteps: 'auto' needs"):
        simulate(graph, images, "auto", "lazy")


def test_of_an_own_step_function_nothing_is_known(monkeypatch):
    monkeypatch.setitem(NEURONS, "mine", lambda current, state, params: (current, state))
    assert is_own("mine") and kind_of("mine") is kind_of("nothing") is NEURONS["cif"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("low", value) for value in (0.5, float("nan"), True, "0", None)),
        *(("name", value) for value in (3, "", None)),
        ("title", None),
        ("limited", 1),
        ("rests", "no"),
    ],
)
def test_a_kind_that_cannot_be_is_refused_when_it_is_made(field, value):
    with pytest.raises(ArgumentError, match=f"^{field}: expected [^\n]*, got [^\n]*$"):
        replace(LAZY, **{field: value})


@pytest.mark.parametrize("function", [cif_step, if_step, signed_if_step, casc_det.simulate, Simulator.run])
def test_help_stands_alone(function):
    text, names = function.__doc__, function.__code__.co_varnames[: function.__code__.co_argcount]
    assert "(B, " in text and all(f"{name}: " in text for name in names if name != "self")
