"""CQ of every function: its counts, its gradients, what it shares, and networks that were saved before it."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from casc_det.errors import ArgumentError
from casc_det.neurons.activation import CQ, CQReLU, cqrelu
from casc_det.neurons.functions import FUNCTIONS, counts_of, function_of

TEXTS = (*FUNCTIONS, "leaky_relu(0.3)", "hardtanh(-0.5, 2)")
LEVELS, STEPS = st.integers(1, 64), st.floats(2.0**-8, 2.0)


def values(count: int = 200) -> torch.Tensor:
    """Around the bend of every function, and far from it."""
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4


@pytest.mark.parametrize("text", TEXTS)
@given(levels=LEVELS, delta=STEPS)
def test_output_is_the_count_of_the_function_times_the_step(text, levels, delta):
    site, z = CQ(text, levels, delta).double(), values()
    step = site.delta.item()  # its own dtype holds no more of `delta`
    expected = counts_of(function_of(text), z, torch.tensor(step * levels, dtype=torch.float64), levels)
    near = (function_of(text)(z) / step + 0.5).sub_(expected).abs() < 1e-9  # Q * delta / Q may round
    assert torch.equal(site(z)[~near], (expected * step)[~near])


@pytest.mark.parametrize("text", TEXTS)
@given(levels=LEVELS, delta=STEPS)
def test_gradients_are_those_of_the_function_and_of_the_step(text, levels, delta):
    """Against autograd: the same output with the rounding written as a constant."""
    z = values().requires_grad_()
    site = CQ(text, levels, delta).double()
    upstream = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    site(z).backward(upstream)

    x, step = z.detach().clone().requires_grad_(), site.delta.detach().clone().requires_grad_()
    ratio = function_of(text)(x) / step
    rounding = ((ratio + 0.5).floor() - ratio).detach()
    inside = (ratio.abs() < levels).detach()
    outside = (ratio + 0.5).floor().clamp(-levels, levels).detach()
    torch.where(inside, (ratio + rounding) * step, outside * step).backward(upstream)
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-9, atol=1e-9)
    scale = 1 / math.sqrt(len(z) * levels)
    assert site.delta.grad.item() == pytest.approx(step.grad.item() * scale, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("text", ["silu", "hardtanh", "identity"])
def test_gradient_of_the_step_is_the_slope_between_roundings(text):
    """Finite differences, where no count changes."""
    z, width = values(), 1e-6
    site = CQ(text, 8, 0.37).double()
    before, after = (CQ(text, 8, 1.0).double() for _ in range(2))
    for one, sign in ((before, -1), (after, 1)):
        one.delta.data.fill_(site.delta.item() + sign * width)
    f = function_of(text)(z)
    clipped = f.abs() > 8 * 0.37 + 0.1  # there the output is n * delta, and n stays
    site(z)[clipped].sum().backward()
    slope = (after(z) - before(z))[clipped].sum() / (2 * width)
    assert clipped.any() or text == "hardtanh"
    assert site.delta.grad.item() * math.sqrt(len(z) * 8) == pytest.approx(slope.item(), rel=1e-4)


@given(levels=LEVELS, clip=STEPS)
def test_cq_of_relu_is_cqrelu(levels, clip):
    z = torch.randn(500, generator=torch.Generator().manual_seed(2)) * clip
    paper, general = CQReLU(levels, clip), CQ("relu", levels, clip / levels)
    torch.testing.assert_close(general(z), paper(z), rtol=1e-5, atol=clip / levels * 1.01)  # one step at a boundary
    assert (general(z) - paper(z)).abs().gt(clip / levels / 2).sum() <= 2
    for site in (paper, general):
        site(z).sum().backward()
    # the same gradient for the clip: that of a step is Q times as large
    assert general.delta.grad.item() == pytest.approx(paper.lam.grad.item() * levels, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize("site", [CQ("silu", 8, 0.25), CQReLU(8, 2.0)], ids=["CQ", "CQReLU"])
def test_both_kinds_of_site_have_one_interface(site):
    assert site.levels == 8 and site.clip.item() == 2.0 and [site.learned] == list(site.parameters())
    site.set_clip(4.0)
    assert site.clip.item() == 4.0
    other = type(site)(*(("silu",) if type(site) is CQ else ()), 8)
    other.share(site)
    assert other.learned is site.learned and other.clip.item() == 4.0
    assert list(other.state_dict()) == [site.LEARNED]


def test_alpha_mixes_cq_with_the_original():
    site, z = CQ("silu", 4, 0.5, nn.SiLU()), values()
    pure, original = site(z), nn.functional.silu(z)
    site.alpha = 0.25
    torch.testing.assert_close(site(z), 0.75 * original + 0.25 * pure)
    site.alpha = 0.0
    assert torch.equal(site(z), original) and torch.equal(site.unquantised(z), original)
    assert torch.equal(CQ("silu", 4).unquantised(z), original)


def test_unknown_functions_and_levels_are_refused():
    with pytest.raises(ArgumentError, match="activation: 'sillu' is none that is known.*did you mean 'silu'"):
        CQ("sillu", 8)
    with pytest.raises(ArgumentError, match="levels: expected an integer from 1 to 64, got 65"):
        CQ("silu", 65)


def test_a_step_of_zero_or_less_stays_finite():
    assert CQ("silu", 4, -1.0)(torch.tensor([-1.0, 0.0, 1.0])).isfinite().all()


def test_networks_saved_before_cq_are_read():
    """Such a CQReLU has no attributes but these."""
    site = CQReLU(4, 1.5)
    assert set(vars(site)) - set(vars(nn.Module())) == {"levels", "original", "alpha"}
    stream = io.BytesIO()
    torch.save(site, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    z = values().float()
    assert loaded.function == "relu" and torch.equal(loaded(z), cqrelu(z, torch.tensor(1.5), 4))
