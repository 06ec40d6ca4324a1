"""The Triton kernel in Triton's interpreter, in a process of its own, against the torch version."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="Triton comes with the CUDA builds of torch")

CODE = """
import torch
from casc_det.neurons.rule import Table
from casc_det.simulation.fast.cuda import scan_triton
from casc_det.simulation.fast.forms import Layer, Tables, scan_torch, tile

random = torch.Generator().manual_seed(0)
whole = lambda *shape: torch.randint(-40, 60, shape, generator=random).float()


def table(channels, size):
    thresholds = whole(channels, size).sort(1).values
    thresholds[:, size - 1 :] = float("inf")
    return Table(thresholds, torch.randint(-3, 17, (size + 1,), generator=random).float().expand(channels, -1))


cases = ((5, 2, 9, 8, 0.0, 4), (3, 1, 300, 5, -0.25, 2), (4, 2, 7, 16, float("-inf"), 99))
kinds = ((1, False), (3, False), (1, True), (8, True))
for steps, batch, places, channels, low, limit in cases:
    for gamma, tabled in kinds:
        limits, lows = torch.full((steps,), limit, dtype=torch.int16), torch.full((steps,), low)
        limits[0], lows[-1] = -1, -1.0
        size = places * channels
        rows = torch.arange(steps * batch).view(steps, batch)
        rows[1, 0] = -1
        inputs = (whole(steps * batch, size), rows, tile(whole(steps, channels)))
        theta = whole(channels).abs() + 10
        tables = Tables.of([table(channels, k) for k in (6, 0, 11)] if tabled else [], theta)
        which = torch.randint(0, 3, (steps,), generator=random) if tabled else None
        results = []
        for run in (scan_triton, scan_torch):
            v, n = torch.full((batch + 1, size), 7.0), torch.ones(batch + 1, size, dtype=torch.int16)
            spikes = torch.zeros(steps, batch, size, dtype=torch.uint8)
            fired = torch.zeros(3, steps, batch, dtype=torch.int64)
            layer = Layer(tile(theta), v, n, torch.arange(batch) + 1, limits, lows, gamma, -1, tables, which)
            run(layer, *inputs, channels, spikes, fired)
            results.append((v, n, spikes, fired))
        same = all(torch.equal(a, b) for a, b in zip(*results))
        assert same and int(results[0][3][2].sum()) > 9, (steps, channels, gamma, tabled)
"""


def test_kernel_equals_torch():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
