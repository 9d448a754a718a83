"""Judge errors by level 0's own error, or by the spacing of the dtype.

``x`` is what a level recorded, ``r`` the reference (level 0 in float64), ``b`` what level 0
recorded in the same dtype as ``x``, ``eps`` the spacing of that dtype at 1. **Parity** bounds two
errors:

- greatest:  max|x - r| <= factor * max|b - r| + ulps * eps * max|r|
- root mean square:  rms(x - r) <= factor * rms(b - r) + ulps * eps * rms(r)

Where :data:`~porter.verify.recipe.claims.NOISE_FACTOR` times the output's own noise
(:mod:`porter.verify.judge.noise`) is more, it is the bound instead, in either measure.

The first sees one wrong element, the second a small error everywhere, which hides below the first
as soon as one element is much larger than the rest. (The factor of two over the plain
implementation's error in the same dtype is the rule of FlashAttention's tests.) With ``against``
the difference from that run, x - a, takes the place of x - r.

**Loss curve**, for a series over steps, bounds every step i by what level 0 has lost up to there:

    |x_i - r_i| <= factor * max_{j<=i} |b_j - r_j| + ulps * eps * max_{j<=i} |r_j|

**Within ulps**: max |x - round(r)| / ulp, where round() is to the dtype of ``x`` and ulp is the
spacing of that dtype at max(|round(r)|, rms(r)).

A claim that also holds for a constant in place of ``x`` (zero, the reference's mean, a loss that
never moves) could not fail: it is vacuous.
"""

from __future__ import annotations

import math

import torch

from porter.verify.judge.noise import Noise, below_noise
from porter.verify.judge.result import Outcome, vacuous
from porter.verify.judge.tensors import constants, difference_at, nonfinite, worst_difference
from porter.verify.recipe.claims import NOISE_FACTOR, LossCurve, Parity, WithinUlps


def no_allowance(reference: torch.Tensor, baseline: torch.Tensor | None) -> str:
    """Return why level 0 gives no allowance in this dtype; "" when it does."""
    if baseline is None:
        return "level 0 did not run in this dtype, so it gives no allowance"
    if baseline.shape != reference.shape:
        return "level 0 gives another shape in this dtype than in the reference: no allowance"
    if bad := nonfinite(baseline):
        return (
            f"level 0 is not finite in this dtype ({bad}), so it gives no "
            "allowance: claim within_ulps here, and nonfinite at level 0"
        )
    return ""


def parity(
    kind: Parity,
    found: torch.Tensor,
    reference: torch.Tensor,
    baseline: torch.Tensor,
    against: torch.Tensor | None,
    noise: Noise | None = None,
) -> Outcome:
    """Hold the greatest and the root mean square error of ``found`` to level 0's own."""
    held_to = (reference if against is None else against).double()
    allowed = parity_allowance(kind, found.dtype, reference, baseline, held_to, noise)
    if bad := nonfinite(found):
        return Outcome(False, "max", math.inf, allowed[0], bad)
    for stand_in, name in constants(held_to):
        errors = _errors(stand_in, held_to)
        if all(e <= a for e, a in zip(errors, allowed, strict=True)):
            return vacuous(f"could not fail: {name} is within the allowance ({allowed[0]:.2g}) too")
    errors = _errors(found, held_to)
    shares = [share(e, a) for e, a in zip(errors, allowed, strict=True)]
    worst = 0 if shares[0] >= shares[1] else 1
    held = all(each <= 1 for each in shares)
    detail = "" if held else worst_difference(found, held_to)
    own_noise = None if noise is None else _sizes(noise.difference)[worst]
    measure = ("max", "rms")[worst]
    return Outcome(held, measure, errors[worst], allowed[worst], detail, noise=own_noise)


def parity_allowance(
    kind: Parity,
    dtype: torch.dtype,
    reference: torch.Tensor,
    baseline: torch.Tensor,
    held_to: torch.Tensor,
    noise: Noise | None,
) -> tuple[float, float]:
    """Return the greatest and the root mean square error that parity with ``held_to`` allows."""
    own = _errors(baseline, reference.double())
    eps = torch.finfo(dtype).eps
    scale = _sizes(held_to.double())
    moved = (0.0, 0.0) if noise is None else _sizes(noise.difference)
    greatest_error, mean_error = (
        max(kind.factor * e + kind.ulps * eps * s, NOISE_FACTOR * m)
        for e, s, m in zip(own, scale, moved, strict=True)
    )
    return greatest_error, mean_error


def loss_curve(
    kind: LossCurve,
    found: torch.Tensor,
    reference: torch.Tensor,
    baseline: torch.Tensor,
    against: torch.Tensor | None,
    noise: Noise | None = None,
) -> Outcome:
    """Hold every step of a series to what level 0 itself has lost up to that step."""
    if found.dim() != 1 or found.numel() < 2:
        return vacuous(f"expected a series of two or more steps, found shape {list(found.shape)}")
    held_to = (reference if against is None else against).double()
    allowed = loss_allowance(kind, found.dtype, reference, baseline, held_to, noise)
    if bad := nonfinite(found):
        first = int((~torch.isfinite(found)).nonzero()[0])
        return Outcome(False, "loss", math.inf, float(allowed[first]), f"{bad}, first at {first}")
    if bool(((held_to[0] - held_to).abs() <= allowed).all()):
        return vacuous("could not fail: a loss that never moves is within the allowance too")
    errors = (found.double() - held_to).abs()
    worst, error, bound = worst_share(errors, allowed)
    held = bool((errors <= allowed).all())
    detail = ""
    if not held:
        first = int((errors > allowed).nonzero()[0])
        departs = difference_at(first, found, held_to).removeprefix("greatest difference")
        detail = f"departs{departs} (allowed {float(allowed[first]):.2g})"
    own_noise = None if noise is None else float(_until_now(noise.difference)[worst])
    return Outcome(held, "loss", error, bound, detail, noise=own_noise)


def loss_allowance(
    kind: LossCurve,
    dtype: torch.dtype,
    reference: torch.Tensor,
    baseline: torch.Tensor,
    held_to: torch.Tensor,
    noise: Noise | None,
) -> torch.Tensor:
    """Return the error that a loss curve allows at each step."""
    own = _until_now(baseline.double() - reference.double())
    allowed = kind.factor * own + kind.ulps * torch.finfo(dtype).eps * _until_now(held_to.double())
    if noise is None:
        return allowed
    return torch.maximum(allowed, NOISE_FACTOR * _until_now(noise.difference))


def _until_now(series: torch.Tensor) -> torch.Tensor:
    """Return the greatest magnitude up to each step."""
    return torch.cummax(series.abs(), 0).values


def within_ulps(
    kind: WithinUlps, found: torch.Tensor, reference: torch.Tensor, noise: Noise | None = None
) -> Outcome:
    """Hold every element to a number of spacings of its dtype."""
    rounded = reference.to(found.dtype)
    if bad := nonfinite(rounded):
        return vacuous(f"the reference does not fit into {found.dtype}: {bad}")
    exact = rounded.double()
    if bad := nonfinite(found):
        return Outcome(False, "ulps", math.inf, kind.ulps, bad)
    spacing = ulp_sizes(reference, found.dtype)
    for stand_in, name in constants(exact):
        if float(((stand_in - exact).abs() / spacing).max()) <= kind.ulps:
            return vacuous(f"could not fail: {name} is within {kind.ulps:g} ulps too")
    own = None if noise is None else float((noise.difference.abs() / spacing).max())
    if own is not None and own > kind.ulps:
        return vacuous(below_noise(f"{own:.3g} ulps", f"{kind.ulps:g} ulps"), own)
    error = float(((found.double() - exact).abs() / spacing).max())
    held = error <= kind.ulps
    detail = "" if held else worst_difference(found, exact)
    return Outcome(held, "ulps", error, kind.ulps, detail, noise=own)


def _errors(x: torch.Tensor, exact: torch.Tensor) -> tuple[float, float]:
    return _sizes(x.double() - exact)


def _sizes(difference: torch.Tensor) -> tuple[float, float]:
    """Return the greatest and the root mean square of a difference."""
    return greatest(difference), rms(difference)


def greatest(x: torch.Tensor) -> float:
    """The greatest magnitude; 0 of no elements."""
    return float(x.abs().max()) if x.numel() else 0.0


def rms(x: torch.Tensor) -> float:
    """Root mean square, scaled so that squares neither overflow nor vanish."""
    scale = greatest(x)
    if scale == 0 or not math.isfinite(scale):
        return scale
    return scale * math.sqrt(float((x / scale).square().mean()))


def ulp_sizes(reference: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the distance between neighbouring values of ``dtype`` at each value of the reference.

    It is never finer than at the reference's root mean square.
    """
    finfo = torch.finfo(dtype)
    exact = reference.to(dtype).double()
    magnitude = torch.clamp(exact.abs(), min=rms(reference.double()))
    exponent = torch.floor(torch.log2(torch.clamp(magnitude, min=finfo.tiny)))
    return torch.exp2(exponent) * finfo.eps


def worst_share(errors: torch.Tensor, allowed: torch.Tensor) -> tuple[int, float, float]:
    """Return index, error and bound of the element whose error is the largest share of its
    bound."""
    shares = torch.where(errors == 0, torch.zeros_like(errors), errors / allowed)
    worst = int(shares.argmax())
    return worst, float(errors.reshape(-1)[worst]), float(allowed.reshape(-1)[worst])


def share(error: float, allowed: float) -> float:
    """Return how much of what is allowed an error takes up."""
    if error == 0:
        return 0.0
    return error / allowed if allowed > 0 else math.inf
