"""Calibration without training: clips that keep the readout."""

import pytest
import torch
from conftest import float_yolo, live_float
from torch import nn

from casc_det.errors import TrainingError
from casc_det.neurons.activation import CQ, quantised
from casc_det.yolo.calibrate import best_clip, calibrate, observed
from casc_det.yolo.install import cq_sites, install_cq
from casc_det.yolo.network import raw_outputs


def fitted(images, model, activation: str = "keep", levels: int = 16, seed: int = 0) -> list[float]:
    install_cq(model, levels, activation)
    assert list(calibrate(model, [image[None] for image in images], seed)) == [1, 2]
    return [site.clip.item() for site in cq_sites(model)]


def error(model, images) -> float:
    """Of the readout, against the float network that the sites remember."""
    with torch.no_grad():
        raw = raw_outputs(model(images))
        with observed(model, CQ.unquantised):
            expected = raw_outputs(model(images))
    return sum(float((raw[key] - expected[key]).square().sum()) for key in raw if key in ("boxes", "scores"))


@pytest.mark.parametrize("activation", ["keep", "relu"])
def test_calibration_is_repeatable_and_leaves_nothing_behind(activation):
    model, images = live_float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    clips = fitted(images, model, activation)
    assert clips == fitted(images, live_float()[0], activation)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any("forward" in vars(site) for site in cq_sites(model))
    assert all(0 < clip < float("inf") for clip in clips)


def test_more_levels_are_nearer_to_the_float_network():
    errors = []
    for levels in (4, 16, 64):
        model, images = live_float()
        fitted(images, model, levels=levels)
        errors.append(error(model, images))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_calibrated_clips_keep_the_readout_better_than_others():
    model, images = live_float()
    fitted(images, model)
    best = error(model, images)
    for factor in (0.4, 2.5):
        other, _ = live_float()
        fitted(images, other)
        for learned in {site.learned for site in cq_sites(other)}:
            learned.data.mul_(factor)
        assert error(other, images) > best


def test_sites_whose_signals_are_added_keep_one_step():
    model, images = live_float()
    fitted(images, model)
    assert len({id(site.learned) for site in cq_sites(model)}) == 51 < len(cq_sites(model))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("levels", [1, 5, 16])
def test_best_clip_has_the_least_error_of_all_that_are_tried(levels, weighted):
    random = torch.Generator().manual_seed(levels)
    f = torch.nn.functional.silu(torch.randn(3000, generator=random) * 3)
    weight = torch.rand(3000, generator=random).square() if weighted else None
    found = best_clip(f, levels, weight)
    loss = lambda clip: float(
        ((quantised(f, torch.tensor(clip / levels), levels) - f).square() * (1 if weight is None else weight)).sum()
    )
    assert loss(found) <= min(loss(found * factor) for factor in (0.6, 0.8, 0.94, 1.06, 1.2, 1.6)) * 1.02


def test_weights_move_the_clip_towards_what_matters():
    f = torch.linspace(0, 8, 4000)
    low, high = (best_clip(f, 4, weight) for weight in ((f < 1).float() + 1e-6, (f > 7).float() + 1e-6))
    assert low < 2 < 6 < high


def test_nothing_but_zeros_has_no_clip():
    assert best_clip(torch.zeros(5), 4) == 0.0


def test_values_that_are_not_finite_are_refused():
    model = float_yolo("yolov8n")
    install_cq(model, 4)
    nn.init.constant_(model.model[0].conv.weight, float("nan"))
    with pytest.raises(TrainingError, match="weights: .* not finite"):
        list(calibrate(model, [torch.rand(1, 3, 64, 64)]))
