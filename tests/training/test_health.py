"""A training that goes nowhere says so: gradients, clips and losses are watched."""

import math

import pytest
import torch
from conftest import untrained

from casc_det.errors import TrainingError
from casc_det.training import health
from casc_det.training.health import Health
from casc_det.yolo.install import cq_sites


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(health.LOGGER, "warning", lines.append)
    return lines


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
def test_gradients_that_are_not_finite_are_dropped_then_end_the_training(told, value):
    model, _ = untrained("yolov3-tiny")
    watch = Health(model)

    def break_one():
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        model.model[2].conv.weight.grad[0] = value

    break_one()
    assert not watch.check_gradients() and all(p.grad is None for p in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert watch.check_gradients() and model.model[2].conv.weight.grad is not None
    with pytest.raises(TrainingError, match=r"not finite in 10 steps in a row \(first at model.2.conv.weight\)"):
        for _ in range(health.PATIENCE):
            break_one()
            watch.check_gradients()
    assert len(told) == 1 and "model.2.conv.weight" in told[0]


def test_clips_stay_in_range(told):
    model, _ = untrained("yolov3-tiny")
    first, second = (site.lam for site in cq_sites(model)[:2])
    start = first.item(), second.item()
    watch = Health(model)
    first.data.fill_(-3.0)
    second.data.fill_(1e9)
    watch.keep_clips()
    assert first.item() == pytest.approx(start[0] / 16) and second.item() == pytest.approx(start[1] * 16)


def test_losses_that_do_not_move_are_named_once(told):
    model, _ = untrained("yolov3-tiny")
    watch = Health(model)
    for epoch in range(12):
        watch.end_epoch({"dfl_loss": math.log(64), "box_loss": 5 - epoch / 10, "count": 0.0})
    assert len(told) == 1 and "dfl_loss has not moved in 5 epochs (4.159)" in told[0]
