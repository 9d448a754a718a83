"""The noise of an output: how far rounding alone moves it, and what that means for a claim.

``b`` is what level 0 recorded, ``s`` what its shaken run recorded
(:mod:`porter.verify.harness.shaken`), both in the run's own dtype. Their difference is the output's
own noise on this machine, whatever the port does. It decides three things:

- **parity** and **loss_curve** allow ``NOISE_FACTOR`` times the noise where that is more than what
  level 0's own error allows: level 0 may round luckily on one processor, and a level that computes
  the same in another order then has no such luck.
- a stated bound (within_ulps, allclose, psnr, ssim) below the noise would fail a correct port on
  some processor: the claim is an error.
- an output whose noise is more than a share of its own range is drowned: no claim on it proves
  anything, on any machine. ``NOISE_SHARE`` is that share; in half precision, where one ulp is a
  large part of a range, it is ``HALF_ULPS`` spacings at 1.

Where level 0 overflows, or records an output in another shape when shaken, nothing is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from porter.verify.recipe.claims import NOISE_SHARE

HALF_ULPS = 32
_REMEDY = (
    "claim less of it: fewer steps, a smaller guidance, a corrected sampler, or the step before"
)


@dataclass(frozen=True)
class Noise:
    """An output of a run, and of its shaken twin: same shape and dtype, ``settled`` finite."""

    settled: torch.Tensor
    shaken: torch.Tensor

    @property
    def difference(self) -> torch.Tensor:
        """What rounding moved, element by element, in float64."""
        return self.shaken.double() - self.settled.double()


def noise_between(settled: torch.Tensor | None, shaken: torch.Tensor | None) -> Noise | None:
    """Return the noise of an output, or None where it cannot be measured."""
    if settled is None or shaken is None:
        return None
    if settled.shape != shaken.shape or settled.dtype != shaken.dtype or not settled.numel():
        return None
    if not bool(torch.isfinite(settled.double()).all()):
        return None
    return Noise(settled, shaken)


def drowned(noise: Noise) -> str:
    """Return why an output is drowned in noise; "" when it is not."""
    moved = float(noise.difference.abs().max())
    values = noise.settled.double()
    extent = float(values.max() - values.min()) or float(values.abs().max())
    if not math.isfinite(moved):
        return f"level 0 is not finite when it is shaken: it proves nothing; {_REMEDY}"
    if moved == 0 or extent == 0:
        return ""
    most = NOISE_SHARE
    if noise.settled.dtype in (torch.float16, torch.bfloat16):
        most = max(most, HALF_ULPS * torch.finfo(noise.settled.dtype).eps)
    if moved <= most * extent:
        return ""
    return (
        f"rounding alone moves this output of level 0 by {moved:.2g}, {moved / extent:.2%} of its "
        f"range of {extent:.3g}, more than {most:.2g}: nothing claimed of it proves anything; "
        f"{_REMEDY}"
    )


def below_noise(noise: str, allowed: str) -> str:
    """Return the error of a stated bound that lies below the noise."""
    return (
        f"rounding alone moves this output of level 0 by {noise}, beyond the {allowed} of the "
        f"claim: it proves nothing; widen the bound, or {_REMEDY}"
    )
