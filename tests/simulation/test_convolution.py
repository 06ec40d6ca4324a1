"""Convolutions of spikes: the sums of 8-bit integers and of floats are those of a plain loop, in every geometry."""

import pytest
import torch

from casc_det import graph as g
from casc_det.simulation.fast import convolution


def test_8_bit_sums_are_those_of_floats():
    if not convolution.has_int8():
        pytest.skip("torch has no 8-bit convolution here")
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (8, 8, 3, 3), generator=random).float()
    node = g.Conv("c", (), weight, torch.zeros(8), (2, 1), (1, 2), (1, 1), 1)
    for zero in (1, 2, 64):
        x = torch.randint(0, 2 * zero + 1, (3, 8, 9, 7), generator=random).to(torch.uint8)
        x = convolution.channels_last(x)
        found = convolution.SpikeConvolution(node, True)(x, zero)
        assert torch.equal(found, torch.nn.functional.conv2d(x.float() - zero, weight, None, (2, 1), (1, 2)))


GEOMETRIES = [  # side of the map, channels, groups, kernel, stride, padding, dilation
    ((4, 4), 1, 1, (3, 2), (1, 1), (3, 2), (1, 1)),  # oneDNN's 8 bits give garbage: windows of padding only
    ((11, 2), 2, 1, (2, 1), (3, 3), (1, 1), (1, 5)),  # ends the process
    ((5, 1), 24, 1, (1, 1), (2, 2), (2, 1), (3, 5)),
    ((3, 1), 4, 1, (2, 2), (1, 1), (1, 1), (1, 2)),  # the dilation leaps over the map
    ((10, 3), 2, 2, (7, 3), (1, 3), (2, 1), (1, 1)),  # wrong sums: strides that differ
    ((5, 2), 1, 1, (7, 3), (1, 3), (2, 1), (1, 1)),
    ((9, 7), 8, 8, (3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), 8, 1, (6, 6), (2, 2), (3, 5), (1, 1)),
]


@pytest.mark.parametrize(("size", "channels", "groups", "kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_sums_of_every_geometry(size, channels, groups, kernel, stride, padding, dilation):
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (2 * groups, channels // groups, *kernel), generator=random).float()
    node = g.Conv("c", (), weight, torch.zeros(len(weight)), stride, padding, dilation, groups)
    x = torch.randint(0, 5, (3, channels, *size), generator=random).to(torch.uint8)
    found = convolution.SpikeConvolution(node, True)(convolution.channels_last(x), 2)
    padded = torch.nn.functional.pad(x.double() - 2, (padding[1], padding[1], padding[0], padding[0]))
    windows = torch.nn.functional.unfold(padded, kernel, dilation, 0, stride).unflatten(1, (groups, -1))
    expected = torch.einsum("goi,bgil->bgol", weight.double().flatten(1).unflatten(0, (groups, -1)), windows)
    assert torch.equal(found.double(), expected.flatten(1, 2).view(found.shape))
