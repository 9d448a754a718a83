"""PSNR and SSIM against scikit-image, and SSIM against the paper's formula written out again."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from porter.verify.judge.compare import judge
from porter.verify.judge.images import psnr, ssim
from porter.verify.recipe.claims import Psnr, Ssim


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    """An image with structure: a ramp and noise, uint8."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 60, shape, generator=generator)
    ramp = torch.linspace(0, 180, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (noise + ramp).to(torch.uint8)


def noisy(image: torch.Tensor, most: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(-most, most + 1, image.shape, generator=generator)
    return (image.int() + noise).clamp(0, 255).to(torch.uint8)


def ssim_by_loops(x: torch.Tensor, r: torch.Tensor, peak: float) -> float:
    """Equation 13 of the paper, window by window."""
    weights = [
        [math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)]
        for i in range(11)
    ]
    total = sum(map(sum, weights))
    w = torch.tensor(weights, dtype=torch.float64) / total
    c1, c2, found = (0.01 * peak) ** 2, (0.03 * peak) ** 2, []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a = x[top : top + 11, left : left + 11].double()
            b = r[top : top + 11, left : left + 11].double()
            mean_a, mean_b = float((w * a).sum()), float((w * b).sum())
            var_a = float((w * (a - mean_a) ** 2).sum())
            var_b = float((w * (b - mean_b) ** 2).sum())
            both = float((w * (a - mean_a) * (b - mean_b)).sum())
            found.append(
                (2 * mean_a * mean_b + c1)
                * (2 * both + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return sum(found) / len(found)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(11, 40),
    width=st.integers(11, 40),
    channels=st.sampled_from([None, 1, 3, 4]),
    most=st.integers(1, 120),
    peak=st.sampled_from([255.0, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_psnr_and_ssim_are_those_of_scikit_image(
    height: int, width: int, channels: int | None, most: int, peak: float, seed: int
) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    image = picture(*shape, seed=seed)
    x, r = (each.double() * (peak / 255) for each in (noisy(image, most), image))

    expected = structural_similarity(
        r.numpy(),
        x.numpy(),
        data_range=peak,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=None if channels is None else -1,
    )

    assert ssim(x, r, peak) == pytest.approx(float(expected), abs=1e-9)
    decibels = peak_signal_noise_ratio(r.numpy(), x.numpy(), data_range=peak)
    assert psnr(x, r, peak) == pytest.approx(float(decibels), rel=1e-12)


def test_ssim_is_the_papers_formula() -> None:
    image = picture(15, 18)
    other = noisy(image, 30)

    assert ssim(other, image, 255) == pytest.approx(ssim_by_loops(other, image, 255), abs=1e-9)
    assert ssim(image, image, 255) == pytest.approx(1)


def test_ssim_is_the_same_for_every_order_of_axes() -> None:
    image = picture(20, 16, 3)
    other = noisy(image, 30)
    expected = sum(ssim(other[..., c], image[..., c], 255) for c in range(3)) / 3

    assert ssim(other, image, 255) == pytest.approx(expected)
    turned = ssim(other.movedim(-1, 0)[None], image.movedim(-1, 0)[None], 255)
    assert turned == pytest.approx(expected)


def test_psnr_is_decibels_below_the_peak() -> None:
    image = torch.zeros(4, 4, dtype=torch.uint8)
    other = image + 16

    assert psnr(other, image, 255) == pytest.approx(20 * math.log10(255 / 16))
    assert psnr(image, image, 255) == math.inf


@pytest.mark.parametrize("kind", [Psnr(at_least=25, reason="r"), Ssim(at_least=0.9, reason="r")])
def test_a_little_noise_passes_and_much_of_it_fails(kind: Psnr | Ssim) -> None:
    image = picture(32, 32, 3)

    little, much = (judge(kind, noisy(image, most), image, None) for most in (4, 60))

    assert little.held
    assert little.lower
    assert not much.held
    assert not much.problem
    assert "greatest difference at [" in much.detail


@pytest.mark.parametrize(
    ("kind", "shape", "detail"),
    [
        (Psnr(at_least=8, reason="r"), (16, 16), "could not fail: a constant (the mean) has"),
        (Ssim(at_least=0.01, reason="r"), (16, 16), "could not fail: a constant (the mean) has"),
        (Ssim(at_least=0.9, reason="r"), (16, 9), "expected at least 11 x 11 pixels, found shape"),
        (Ssim(at_least=0.9, reason="r"), (16, 16, 9), "expected an image (H x W, H x W x C or"),
    ],
)
def test_what_could_not_fail_or_is_no_image_is_told(
    kind: Psnr | Ssim, shape: tuple[int, ...], detail: str
) -> None:
    image = picture(*shape)

    outcome = judge(kind, noisy(image, 4), image, None)

    assert outcome.problem
    assert outcome.detail.startswith(detail)


def test_a_float_image_needs_its_peak() -> None:
    image = picture(16, 16).float() / 255

    without = judge(Psnr(at_least=40, reason="r"), image + 1e-4, image, None)
    with_peak = judge(Psnr(at_least=40, reason="r", peak=1), image + 1e-4, image, None)

    assert without.problem
    assert "expected `peak`" in without.detail
    assert with_peak.held
    assert with_peak.error == pytest.approx(80, abs=0.1)
