"""Judge one output by one claim.

The measures are defined where they are computed: :mod:`porter.verify.judge.parity` (parity,
within_ulps, loss_curve), :mod:`porter.verify.judge.images` (psnr, ssim),
:mod:`porter.verify.judge.distribution` (same_distribution). Here stand those that need no more than
a line:

- equal: no element differs (NaN from NaN does, and an infinity is never equal)
- allclose: |x - r| <= atol + rtol * |r| for every element
- finite: no infinity, no NaN;  nonfinite: at least one

Integers and booleans do not round: parity and within_ulps require them to be equal.
"""

from __future__ import annotations

import math

import torch

from porter.verify.judge.distribution import judge_distribution
from porter.verify.judge.images import judge_image
from porter.verify.judge.noise import Noise, below_noise, drowned
from porter.verify.judge.parity import loss_curve, no_allowance, parity, within_ulps, worst_share
from porter.verify.judge.result import Outcome, vacuous
from porter.verify.judge.tensors import constants, describe, difference_at, nonfinite
from porter.verify.recipe.claims import (
    Allclose,
    Equal,
    Finite,
    LossCurve,
    Nonfinite,
    OutputKind,
    Parity,
    Psnr,
    SameDistribution,
    Ssim,
    WithinUlps,
)


def judge(
    kind: OutputKind,
    found: torch.Tensor,
    reference: torch.Tensor | None,
    baseline: torch.Tensor | None,
    against: torch.Tensor | None = None,
    noise: Noise | None = None,
) -> Outcome:
    """Judge ``found`` by one claim; all tensors have its shape. ``baseline``: None if it did not
    run.

    ``against`` is what the claim compares with in place of the reference; ``noise`` is None where
    it was not measured.
    """
    if isinstance(kind, Finite):
        return _finite(found)
    if isinstance(kind, Equal):
        return _equal(found, baseline if against is None else against)
    if against is not None and not isinstance(kind, Parity | LossCurve):
        reference = against
    if reference is None:
        return vacuous("the reference run does not record it: nothing to compare with")
    for name, tensor in (("reference", reference), ("run to compare with", against)):
        if tensor is not None and (bad := nonfinite(tensor)):
            return vacuous(f"the {name} is not finite ({bad}): nothing to compare with")
    if isinstance(kind, Nonfinite):
        return _overflows(found)
    if noise is not None and (reason := drowned(noise)):
        return vacuous(reason, float(noise.difference.abs().max()))
    if isinstance(kind, Allclose):
        return _allclose(kind, found, reference, noise)
    if isinstance(kind, Psnr | Ssim):
        return judge_image(kind, found, reference, noise)
    if isinstance(kind, SameDistribution):
        return judge_distribution(kind, found, reference)
    if not found.is_floating_point():
        return _same_values(found, reference if against is None else against)
    if isinstance(kind, WithinUlps):
        return within_ulps(kind, found, reference, noise)
    if (reason := no_allowance(reference, baseline)) or baseline is None:
        return vacuous(reason)
    if isinstance(kind, LossCurve):
        return loss_curve(kind, found, reference, baseline, against, noise)
    return parity(kind, found, reference, baseline, against, noise)


def _finite(found: torch.Tensor) -> Outcome:
    if not found.is_floating_point():
        return vacuous(f"could not fail: {describe(found)} holds no infinity and no NaN")
    number = int((~torch.isfinite(found)).sum())
    return Outcome(number == 0, "elements", float(number), 0.0, nonfinite(found))


def _overflows(found: torch.Tensor) -> Outcome:
    number = int((~torch.isfinite(found)).sum())
    if number == 0:
        return Outcome(False, "elements", 0.0, None, "expected an infinity or a NaN, found none")
    return Outcome(True, "elements", float(number), None, nonfinite(found))


def _equal(found: torch.Tensor, other: torch.Tensor | None) -> Outcome:
    if other is None:
        return vacuous("level 0 did not run in this dtype, so there is nothing to be equal to")
    if found.dtype != other.dtype:
        return Outcome(False, detail=f"expected {describe(other)}, found {describe(found)}")
    if bad := nonfinite(found):
        return Outcome(False, "elements", math.inf, 0.0, bad)
    return _same_values(found, other)


def _same_values(found: torch.Tensor, other: torch.Tensor) -> Outcome:
    if found.shape != other.shape:
        return Outcome(False, detail=f"expected {describe(other)}, found {describe(found)}")
    number = int((found != other).sum())
    detail = "" if number == 0 else f"{number} of {found.numel()} elements differ"
    return Outcome(number == 0, "elements", float(number), 0.0, detail)


def _allclose(
    kind: Allclose, found: torch.Tensor, reference: torch.Tensor, noise: Noise | None
) -> Outcome:
    exact = reference.double()
    allowed = kind.atol + kind.rtol * exact.abs()
    if bad := nonfinite(found):
        return Outcome(False, "abs", math.inf, float(allowed.max()), bad)
    middle = torch.full_like(exact, float(exact.min() + exact.max()) / 2)
    for stand_in, name in (*constants(exact), (middle, "a constant (half way)")):
        if bool(((stand_in - exact).abs() <= allowed).all()):
            low, high = float(exact.min()), float(exact.max())
            return vacuous(
                f"could not fail: {name} is within atol + rtol * |reference| too; "
                f"the reference lies between {low:.4g} and {high:.4g}"
            )
    own = None
    if noise is not None:
        _, own, bound = worst_share(noise.difference.abs(), allowed)
        if own > bound:
            return vacuous(below_noise(f"{own:.2g}", f"{bound:.2g}"), own)
    errors = (found.double() - exact).abs()
    worst, error, bound = worst_share(errors, allowed)
    held = bool((errors <= allowed).all())
    detail = "" if held else difference_at(worst, found, exact)
    return Outcome(held, "abs", error, bound, detail, noise=own)
