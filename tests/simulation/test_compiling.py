"""The compiled loops in any number of threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import live_yolo, simulate, small_graph, small_images
from simulated import wide_graph

from casc_det.conversion.integer import to_integer
from casc_det.conversion.spiking import convert_graph
from casc_det.simulation.fast import compiling
from casc_det.yolo.capture import capture


@pytest.mark.parametrize("threads", [1, 2])
def test_thread_count_is_torchs_and_stays(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        list(simulate(convert_graph(small_graph())[0], small_images(), 2))
        assert torch.get_num_threads() == threads
        if compiling.numba is not None:
            assert compiling.numba.get_num_threads() == min(threads, compiling.numba.config.NUMBA_NUM_THREADS)
    finally:
        torch.set_num_threads(before)


def at_once() -> None:
    """Four Python threads that simulate at once, against one after the other."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    graph, images = wide_graph(), [small_images(2, 16, seed=i).float() for i in range(6)]
    run = lambda x: [(step.fired, step.readout["boxes0"]) for step in simulate(graph, x)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, images * 3))
    for got, want in zip(found, [run(x) for x in images] * 3, strict=True):
        assert all(torch.equal(a, b) for x, y in zip(got, want, strict=True) for a, b in zip(x, y, strict=True))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_several_python_threads_at_once():
    at_once()


@pytest.mark.skipif(compiling.numba is None, reason="these are numba's threads")
def test_several_python_threads_at_once_without_openmp():
    code = "import test_compiling; test_compiling.at_once(); print(test_compiling.compiling.numba.threading_layer())"
    tests = str(Path(__file__).parents[1])  # conftest.py
    paths = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "PYTHONPATH": paths}
    options = {"env": environment, "cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([sys.executable, "-c", code], **options)
    assert done.returncode == 0 and done.stdout.split() == ["workqueue"], done.stderr


def test_any_number_of_threads_gives_the_same_spikes():
    model, images = live_yolo("yolov8n")
    graph, images = to_integer(convert_graph(capture(model))[0]), images.float()
    runs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        runs.append(list(simulate(graph, images, 9)))
    torch.set_num_threads(1)
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a.fired, b.fired) and torch.equal(a.readout["boxes0"], b.readout["boxes0"])
