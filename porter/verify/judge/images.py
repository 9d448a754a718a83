"""Image similarity: PSNR and SSIM.

``x`` is an image, ``r`` the reference's, ``L`` the peak: 255 for uint8, else what the claim says.

- PSNR = 10 log10(L^2 / mean((x - r)^2)), in dB; infinite for equal images.
- SSIM: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
  Structural Similarity", IEEE Transactions on Image Processing 13(4), 2004, equation 13, with the
  paper's constants: Gaussian window of 11 x 11 pixels and deviation 1.5, K1 = 0.01, K2 = 0.03. The
  mean over all windows that lie within the image, over channels and images.

Accepted shapes: H x W, H x W x C, C x H x W, and with a leading N the latter two; C is 1 to 4.
"""

from __future__ import annotations

import math

import torch

from porter.verify.judge.noise import Noise, below_noise
from porter.verify.judge.result import Outcome, vacuous
from porter.verify.judge.tensors import constants, describe, nonfinite, worst_difference
from porter.verify.recipe.claims import Psnr, Ssim

WINDOW = 11
DEVIATION = 1.5
_MOST_CHANNELS = 4


def psnr(x: torch.Tensor, r: torch.Tensor, peak: float) -> float:
    """Return the peak signal-to-noise ratio in dB of two tensors of one shape."""
    error = float((x.double() - r.double()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(peak * peak / error)


def ssim(x: torch.Tensor, r: torch.Tensor, peak: float) -> float:
    """Return the mean structural similarity of two images.

    Raises ValueError when the shape is none that :mod:`porter.verify.judge.images` names, or the
    image is smaller than the window.
    """
    planes_x, planes_r = _planes(x), _planes(r)
    at = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line = torch.exp(-at.square() / (2 * DEVIATION**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2

    def mean(planes: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(planes, window)

    mean_x, mean_r = mean(planes_x), mean(planes_r)
    variance_x = mean(planes_x.square()) - mean_x.square()
    variance_r = mean(planes_r.square()) - mean_r.square()
    covariance = mean(planes_x * planes_r) - mean_x * mean_r
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    above = (2 * mean_x * mean_r + c1) * (2 * covariance + c2)
    below = (mean_x.square() + mean_r.square() + c1) * (variance_x + variance_r + c2)
    return float((above / below).mean())


def _planes(image: torch.Tensor) -> torch.Tensor:
    """Return an image's channels as N x 1 x H x W in float64."""
    shape = image.shape
    if image.dim() == 2:
        planes = image[None, None]
    elif image.dim() in (3, 4) and shape[-1] <= _MOST_CHANNELS:
        planes = image.movedim(-1, -3).reshape(-1, 1, shape[-3], shape[-2])
    elif image.dim() in (3, 4) and shape[-3] <= _MOST_CHANNELS:
        planes = image.reshape(-1, 1, *shape[-2:])
    else:
        raise ValueError(
            f"expected an image (H x W, H x W x C or C x H x W, with N before), found "
            f"shape {list(shape)}"
        )
    if min(planes.shape[-2:]) < WINDOW:
        raise ValueError(f"expected at least {WINDOW} x {WINDOW} pixels, found shape {list(shape)}")
    return planes.double()


def judge_image(
    kind: Psnr | Ssim, found: torch.Tensor, reference: torch.Tensor, noise: Noise | None = None
) -> Outcome:
    """Judge an image's similarity to the reference."""
    peak = kind.peak or (255.0 if found.dtype == torch.uint8 else None)
    if peak is None:
        return vacuous(
            f"expected `peak` beside at_least: the image is {describe(found)}, not uint8"
        )
    measure = psnr if isinstance(kind, Psnr) else ssim
    unit = "dB" if isinstance(kind, Psnr) else "SSIM"
    if bad := nonfinite(found):
        return Outcome(False, unit, -math.inf, kind.at_least, bad, lower=True)
    exact = reference.double()
    try:
        for stand_in, name in constants(exact):
            alike = measure(stand_in, exact, peak)
            if alike >= kind.at_least:
                return vacuous(f"could not fail: {name} has {alike:.4g} {unit} too")
        own = None if noise is None else measure(noise.shaken, noise.settled, peak)
        if own is not None and own < kind.at_least:
            return vacuous(below_noise(f"{own:.4g} {unit}", f"{kind.at_least:g} {unit}"), own)
        alike = measure(found, exact, peak)
    except ValueError as error:
        return vacuous(str(error))
    held = alike >= kind.at_least
    detail = "" if held else worst_difference(found, exact)
    return Outcome(held, unit, alike, kind.at_least, detail, lower=True, noise=own)
