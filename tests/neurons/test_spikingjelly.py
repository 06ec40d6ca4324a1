"""SpikingJelly's `STBIFNode` is an independent implementation of the CIF neuron: its spikes must be ours."""

import pytest
import torch
from conftest import EXACT_OPS, live_yolo, simulate, small_graph, small_images
from contenders import Network, run_spikingjelly

from casc_det.conversion.spiking import convert_graph
from casc_det.yolo.capture import capture

pytest.importorskip("spikingjelly", reason="pip install -e '.[bench]'")


@torch.no_grad()
def check(graph, images, steps: int) -> None:
    theirs = {}
    readout = run_spikingjelly(Network(graph), images, steps, theirs)
    for engine in ("reference", "fast"):
        for step in simulate(graph, images, steps, engine=engine, record=True):
            for name, spikes in step.spikes.items():
                assert torch.equal(spikes, theirs[name][step.t - 1]), (engine, step.t, name)
        for name, value in step.readout.items():
            torch.testing.assert_close(readout[name], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ops", [("conv", "add", "max"), ("groups", "concat", "upsample"), tuple(EXACT_OPS)])
@pytest.mark.parametrize("levels", [2, 8])
def test_spikes_equal_spikingjelly(ops, levels):
    graph = convert_graph(small_graph(*ops, levels=levels))[0]
    check(graph, small_images(), 3 * levels)


def test_spikes_of_a_yolo_equal_spikingjelly():
    model, images = live_yolo("yolov8n")
    check(convert_graph(capture(model))[0], images, 11)
