import math

import pytest
import torch
from torch import nn

from casc_det.errors import ArgumentError
from casc_det.neurons.activation import MAX_LEVELS, CQReLU, check_levels, cqrelu, cqrelu_counts


def plain_count(z: float, lam: float, levels: int) -> int:
    return min(max(math.floor(levels * z / lam + 0.5), 0), levels)


def samples(lam: float, dtype=torch.float64) -> torch.Tensor:
    """Below, inside, above the clip, on both ends of it, and on rounding boundaries (dyadic clips and levels)."""
    random = torch.Generator().manual_seed(0)
    inside = torch.randn(500, generator=random, dtype=dtype) * lam
    edges = torch.arange(-4, 40, dtype=dtype) / 32 * lam
    return torch.cat([inside, edges, torch.tensor([-1e6, 0.0, lam, 1e6], dtype=dtype)])


@pytest.mark.parametrize("levels", [1, 4, 16, 64])
@pytest.mark.parametrize("lam", [0.25, 1.0, 4.0])
def test_cqrelu_equals_plain_loop(levels, lam):
    z = samples(lam)
    expected = [plain_count(value, lam, levels) for value in z.tolist()]
    assert cqrelu_counts(z, torch.tensor(lam), levels).tolist() == expected
    assert cqrelu(z, torch.tensor(lam), levels).tolist() == [lam / levels * n for n in expected]


def test_counts_leave_their_input_alone():
    z = samples(1.0)
    before = z.clone()
    cqrelu_counts(z, torch.tensor(1.0), 4)
    assert torch.equal(z, before)


@pytest.mark.parametrize("levels", [1, 3, 8])
@pytest.mark.parametrize("lam", [0.3, 1.0, 2.7])
def test_gradients_are_straight_through(levels, lam):
    z = torch.cat([samples(lam)[:500], torch.tensor([0.0, lam, 1e3], dtype=torch.float64)]).requires_grad_()
    clip = torch.tensor(lam, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cqrelu(z, clip, levels).backward(upstream)
    by_z, by_lam = [], 0.0
    for value, weight in zip(z.tolist(), upstream.tolist(), strict=True):
        inside = 0 < value < lam
        by_z.append(weight if inside else 0.0)
        step = plain_count(value, lam, levels) / levels - value / lam
        by_lam += weight * (step if inside else 1.0 if value >= lam else 0.0)
    assert z.grad.tolist() == by_z
    assert clip.grad.item() == pytest.approx(by_lam, rel=1e-4, abs=1e-4)


def test_gradient_of_lam_keeps_its_shape_and_dtype():
    site = CQReLU(4, 2.0)
    site(torch.randn(2, 3, 4, 4).bfloat16()).float().sum().backward()
    assert site.lam.grad.shape == () and site.lam.grad.dtype == torch.float32


@pytest.mark.parametrize("levels", [0, -1, MAX_LEVELS + 1, True, 2.5, "8", None])
def test_levels_outside_1_to_64_are_refused(levels):
    for make in (check_levels, CQReLU):
        with pytest.raises(ArgumentError) as caught:
            make(levels)
        assert (
            str(caught.value) == f"levels: expected an integer from 1 to 64, got {levels!r}; typical are 8, 16 and 32"
        )


@pytest.mark.parametrize("levels", [1, MAX_LEVELS])
def test_levels_from_1_to_64_are_accepted(levels):
    assert check_levels(levels) == levels == CQReLU(levels).levels


def test_alpha_mixes_with_the_original():
    site, z = CQReLU(4, 2.0, nn.SiLU()), samples(2.0)
    pure, original = cqrelu(z, torch.tensor(2.0), 4), nn.functional.silu(z)
    assert torch.equal(site(z), pure)
    for alpha in (0.25, 0.75):
        site.alpha = alpha
        torch.testing.assert_close(site(z), (1 - alpha) * original + alpha * pure, rtol=1e-12, atol=1e-9)
    site.alpha = 0.0
    assert torch.equal(site(z), original)


def test_alpha_without_original_is_pure_cqrelu():
    site, z = CQReLU(4, 2.0), samples(2.0)
    site.alpha = 0.0
    assert torch.equal(site(z), cqrelu(z, torch.tensor(2.0), 4))


def test_clip_of_zero_or_less_stays_finite():
    site = CQReLU(4, -1.0)
    assert site(torch.tensor([-1.0, 0.0, 1.0])).isfinite().all()


def test_gradient_of_lam_is_scaled_by_the_size_of_its_layer():
    z = samples(1.0)[:500].requires_grad_()
    site, clip = CQReLU(8), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    site(z).sum().backward()
    cqrelu(z, clip, 8).sum().backward()
    assert site.lam.grad.item() == pytest.approx(clip.grad.item() / math.sqrt(500 * 8), rel=1e-5)


def test_lam_can_be_shared():
    first = CQReLU(4, 1.5)
    assert CQReLU(4, first.lam).lam is first.lam
