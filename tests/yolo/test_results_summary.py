"""Ultralytics' Results with one attribute more."""

import numpy as np
import torch


def test_summary_has_no_second_s():
    from casc_det.yolo.results import SpikingResults

    boxes = torch.tensor([[0, 0, 9, 9, 0.9, label] for label in (0, 1, 1, 2, 2)], dtype=torch.float64)
    results = SpikingResults(np.zeros((9, 9, 3), np.uint8), "x", {0: "dog", 1: "cat", 2: "Platelets"}, boxes=boxes)
    assert results.verbose() == "1 dog, 2 cats, 2 Platelets, "
