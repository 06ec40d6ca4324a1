"""Clips are fitted to what their sites get."""

import pytest
import torch
from conftest import float_yolo, untrained
from torch import nn

from casc_det.errors import TrainingError
from casc_det.neurons.activation import cqrelu
from casc_det.yolo.calibrate import best_clip, calibrate_clips
from casc_det.yolo.install import cq_sites, install_cq


def test_calibration_fits_each_clip_to_the_inputs_of_its_sites():
    torch.manual_seed(0)
    model, images = float_yolo("yolov8n"), torch.rand(2, 3, 64, 64)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)  # statistics of a trained network are used as they are
    seen: dict[nn.Module, torch.Tensor] = {}
    convs = [m for m in model.modules() if type(getattr(m, "act", None)) is nn.SiLU]
    for conv in convs:
        conv.bn.register_forward_hook(lambda m, i, z: seen.update({m: z.detach().flatten()}))
    with torch.no_grad():
        model(images)
    install_cq(model, 8, "relu")
    calibrate_clips(model, [images])
    error = lambda z, clip: (cqrelu(z, torch.tensor(clip), 8) - z.relu()).square().sum().item()
    for conv in convs:
        z = torch.cat([seen[other.bn] for other in convs if other.act.lam is conv.act.lam])
        lam = conv.act.lam.item()
        assert error(z, lam) <= 1.05 * min(error(z, lam * factor) for factor in (0.5, 0.7, 0.85, 1.2, 1.5, 2.0))


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov5n", "yolov8n"])
def test_clips_of_an_untrained_network_fit_its_normalised_activations(name):
    model, _ = untrained(name)
    clips = [site.lam.item() for site in cq_sites(model)]
    normal = 2.7  # about what fits the positive values of a standard normal distribution with 8 levels
    assert all(normal / 3 < clip < normal * 3 for clip in clips), clips
    assert not model.training and all(m.momentum == 0.03 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_gradients_of_an_untrained_network_are_finite_and_reach_every_layer():
    model, images = untrained("yolov8n")
    maps = model.train()(images)
    (maps["boxes"].square().mean() + maps["scores"].square().mean()).backward()
    for name, parameter in model.named_parameters():
        if "dfl" not in name:
            assert parameter.grad.isfinite().all() and parameter.grad.any(), name
    clips = {id(site.lam): site.lam.grad.abs() for site in cq_sites(model)}
    convs = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.requires_grad]
    weights = torch.nn.utils.get_total_norm([weight.grad for weight in convs])
    assert max(clips.values()) < weights  # clips do not eat up the norm by which gradients are clipped


def test_calibration_keeps_the_statistics_of_a_trained_network():
    model, images = float_yolo("yolov8n"), torch.rand(2, 3, 64, 64)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.uniform_(-0.1, 0.1)
    before = [norm.running_mean.clone() for norm in norms]
    install_cq(model, 4, "relu")
    calibrate_clips(model, [images])
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_a_site_without_positive_input_gets_a_clip_of_its_inputs_size():
    model, images = float_yolo("yolov8n"), torch.rand(2, 3, 64, 64)
    install_cq(model, 4, "relu")
    norm, site = model.model[0].bn, model.model[0].act
    nn.init.constant_(norm.bias, -50)
    calibrate_clips(model, [images])
    assert 40 < site.lam.item() < 60
    nn.init.constant_(norm.bias, 0)
    nn.init.constant_(norm.weight, 0)
    calibrate_clips(model, [images])
    assert site.lam.item() == 1


@pytest.mark.parametrize("levels", [1, 4, 8, 16])
def test_best_clip_beats_every_percentile(levels):
    torch.manual_seed(0)
    z = torch.randn(20_000).mul(1.5).exp() - 1  # a long tail, as the values of natural images have
    error = lambda clip: (cqrelu(z, torch.tensor(clip), levels) - z.relu()).square().sum().item()
    percentiles = z[z > 0].quantile(torch.tensor([0.5, 0.9, 0.99, 0.999, 1.0])).tolist()
    assert error(best_clip(z.relu(), levels)) <= 1.01 * min(map(error, percentiles))


def test_calibration_refuses_values_that_are_not_finite():
    model = float_yolo("yolov8n")
    install_cq(model, 4, "relu")
    nn.init.constant_(model.model[0].conv.weight, float("nan"))
    with pytest.raises(TrainingError, match="weights: .* not finite"):
        calibrate_clips(model, [torch.rand(1, 3, 64, 64)])
