"""What is refused before a simulation begins, and how deep a network is."""

from dataclasses import replace
from functools import partial

import conftest
import pytest
import torch
from conftest import small_images
from simulated import spiking

from casc_det.errors import ArgumentError
from casc_det.simulation import auto_limit, depths

simulate = partial(conftest.simulate, engine="reference")  # tests/simulation/test_fast.py holds the fast one to it


def test_depth_is_the_longest_path():
    def depth(graph):
        return max(depths(graph).values())

    assert depth(spiking()) == 1
    assert depth(spiking("conv", "max", "conv")) == 3
    assert depth(spiking("add")) == 3  # through both activations, not around the second
    assert auto_limit(spiking("conv", levels=8)) == 8 * 3 + 1


@pytest.mark.parametrize("timesteps", [0, -1, True, "x", 2.0, None])
def test_timesteps_that_cannot_work_are_refused_at_once(timesteps):
    with pytest.raises(ArgumentError) as caught:
        simulate(spiking(), small_images(), timesteps)
    assert str(caught.value) == f"timesteps: expected an integer from 1 to 32767 or 'auto', got {timesteps!r}"


@pytest.mark.parametrize(("neuron", "schedule"), [("if", "wsc"), ("cif", "constant"), ("if", "constant")])
def test_auto_needs_cif_and_wsc(neuron, schedule):
    with pytest.raises(ArgumentError, match="timesteps: 'auto' needs neuron='cif' and schedule='wsc'"):
        simulate(spiking(), small_images(), "auto", neuron, schedule)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 8, 12), (1, 3, 12, 8)])
def test_images_of_another_shape_are_refused(shape):
    graph = replace(spiking(), strides=[4, 8])
    with pytest.raises(ArgumentError, match="images: expected a tensor .* multiples of 8, got .*; letterbox"):
        simulate(graph, torch.zeros(shape).double())


@pytest.mark.parametrize("values", [255.0, -0.1, float("nan"), float("inf")])
def test_images_of_another_range_are_refused(values):
    images = small_images()
    images[0, 0, 0, 0] = values
    with pytest.raises(ArgumentError, match="images: expected values from 0 to 1, got"):
        simulate(spiking(), images, 4)


@pytest.mark.parametrize(
    "images", [small_images().float(), small_images()[:0], small_images()[:, :, :0], small_images()[0]]
)
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(ArgumentError, match="^images: expected"):
        simulate(spiking("conv"), images, 1)
