"""The Triton kernel in Triton's interpreter, in a process of its own, against the torch version."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton comes with the CUDA builds of torch")

CODE = """
import torch
from casc_det.simulation.fast.cuda import scan_triton
from casc_det.simulation.fast.forms import Layer, scan_torch, tile

random = torch.Generator().manual_seed(0)
cases = ((5, 2, 9, 8, 0.0, 4), (3, 1, 300, 5, -0.25, 2), (4, 2, 7, 16, float("-inf"), 99))
for steps, batch, places, channels, low, limit in cases:
    limits, lows = torch.full((steps,), limit, dtype=torch.int16), torch.full((steps,), low)
    limits[0], lows[-1] = -1, -1.0
    whole = lambda *shape: torch.randint(-40, 60, shape, generator=random).float()
    size = places * channels
    rows = torch.arange(steps * batch).view(steps, batch)
    rows[1, 0] = -1
    inputs = (whole(steps * batch, size), rows, tile(whole(steps, channels)))
    theta = tile(whole(channels).abs() + 10)
    results = []
    for run in (scan_triton, scan_torch):
        v, n = torch.full((batch + 1, size), 7.0), torch.ones(batch + 1, size, dtype=torch.int16)
        spikes = torch.zeros(steps, batch, size, dtype=torch.uint8)
        fired = torch.zeros(2, steps, batch, dtype=torch.int64)
        run(Layer(theta, v, n, torch.arange(batch) + 1, limits, lows), *inputs, channels, spikes, fired)
        results.append((v, n, spikes, fired))
    assert all(torch.equal(a, b) for a, b in zip(*results)), (steps, channels)
"""


def test_kernel_equals_torch():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
