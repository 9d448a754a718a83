"""Error measures, and what a claim allows, in numbers.

``x`` is what a level recorded, ``r`` the reference (level 0 in float64), ``b`` what level 0
recorded in the same dtype as ``x``, ``eps`` the spacing of that dtype at 1. Two errors are held
side by side:

- greatest:  max|x - r| <= factor * max|b - r| + ulps * eps * max|r|
- root mean square:  rms(x - r) <= factor * rms(b - r) + ulps * eps * rms(r)

The first sees one wrong element, the second a small error everywhere, which hides below the first
as soon as one element is much larger than the rest. (The factor of two over the plain
implementation's error in the same dtype is the rule of FlashAttention's tests.)

Within ulps: max |x - round(r)| / ulp, where round() is to the dtype of ``x`` and ulp is the spacing
of that dtype at max(|round(r)|, rms(r)).

A claim that also holds for a constant in place of ``x`` (zero, or the reference's mean) could not
fail, and says so.
"""

from __future__ import annotations

import math

import torch

from porter.verify.claims import Equal, Nonfinite, OutputKind, Parity, WithinUlps
from porter.verify.outcome import Outcome, unfit


def describe(tensor: torch.Tensor) -> str:
    """Return shape and dtype in the usual short form, as ``float32[2, 3]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def dead_output(reference: torch.Tensor) -> str:
    """Say why an output proves nothing (empty, all zero, constant); "" when it is alive."""
    if reference.numel() == 0:
        return "is empty: it proves nothing"
    first = reference.reshape(-1)[0]
    if not bool((reference == first).all()):
        return ""
    if float(first) == 0:
        return "is all zero: it proves nothing (zero-initialised weights? see probe.alive)"
    if reference.numel() > 1:
        return f"is constant ({float(first):g}): it proves nothing"
    return ""


def mismatch(found: torch.Tensor, expected: torch.Tensor) -> str:
    """Say how the shapes differ; "" when they do not."""
    if found.shape == expected.shape:
        return ""
    return f"expected shape {list(expected.shape)} as at level 0, found {list(found.shape)}"


def judge(
    kind: OutputKind,
    found: torch.Tensor,
    reference: torch.Tensor | None,
    baseline: torch.Tensor | None,
    against: torch.Tensor | None = None,
) -> Outcome:
    """Hold ``found`` to one claim, of equal shape; ``baseline`` is None when it did not run.

    ``against``, where given, takes the place of what the claim compares with.
    """
    if isinstance(kind, Equal):
        return _equal(found, baseline if against is None else against)
    if reference is None:
        return unfit("the reference run does not record it: nothing to compare with")
    if not bool(torch.isfinite(reference).all()):
        return unfit(
            f"the reference is not finite ({_nonfinite(reference)}): nothing to compare with"
        )
    if isinstance(kind, Nonfinite):
        return _overflows(found)
    if not found.is_floating_point():
        return _same_values(found, reference)
    if isinstance(kind, WithinUlps):
        return _within_ulps(kind, found, reference)
    if isinstance(kind, Parity):
        return _parity(kind, found, reference, baseline)
    return unfit(f"{type(kind).__name__}: this kind of claim is not judged yet")


def _parity(
    kind: Parity, found: torch.Tensor, reference: torch.Tensor, baseline: torch.Tensor | None
) -> Outcome:
    if baseline is None:
        return unfit("level 0 did not run in this dtype, so it gives no allowance")
    if baseline.shape != reference.shape:
        return unfit("level 0 gives another shape in this dtype than in float64: no allowance")
    if not bool(torch.isfinite(baseline).all()):
        return unfit(
            f"level 0 is not finite in this dtype ({_nonfinite(baseline)}), so it gives no "
            "allowance: claim within_ulps here, and nonfinite at level 0"
        )
    exact = reference.double()
    eps = torch.finfo(found.dtype).eps
    own = _errors(baseline, exact)
    scale = (float(exact.abs().max()), _rms(exact))
    allowed = [kind.factor * e + kind.ulps * eps * s for e, s in zip(own, scale, strict=True)]
    if bad := _nonfinite(found):
        return Outcome(False, "max", math.inf, allowed[0], bad)
    for stand_in, name in _constants(exact):
        errors = _errors(stand_in, exact)
        if all(e <= a for e, a in zip(errors, allowed, strict=True)):
            return unfit(f"could not fail: {name} is within the allowance ({allowed[0]:.2g}) too")
    errors = _errors(found, exact)
    shares = [_share(e, a) for e, a in zip(errors, allowed, strict=True)]
    worst = 0 if shares[0] >= shares[1] else 1
    held = all(share <= 1 for share in shares)
    detail = "" if held else _place(found, exact)
    return Outcome(held, ("max", "rms")[worst], errors[worst], allowed[worst], detail)


def _within_ulps(kind: WithinUlps, found: torch.Tensor, reference: torch.Tensor) -> Outcome:
    rounded = reference.to(found.dtype)
    if not bool(torch.isfinite(rounded).all()):
        return unfit(f"the reference does not fit into {found.dtype}: {_nonfinite(rounded)}")
    exact = rounded.double()
    if bad := _nonfinite(found):
        return Outcome(False, "ulps", math.inf, kind.ulps, bad)
    spacing = _spacing(torch.clamp(exact.abs(), min=_rms(reference.double())), found.dtype)
    for stand_in, name in _constants(exact):
        if float(((stand_in - exact).abs() / spacing).max()) <= kind.ulps:
            return unfit(f"could not fail: {name} is within {kind.ulps:g} ulps too")
    error = float(((found.double() - exact).abs() / spacing).max())
    held = error <= kind.ulps
    return Outcome(held, "ulps", error, kind.ulps, "" if held else _place(found, exact))


def _overflows(found: torch.Tensor) -> Outcome:
    number = int((~torch.isfinite(found)).sum())
    if number == 0:
        return Outcome(False, "elements", 0.0, None, "expected an infinity or a NaN, found none")
    return Outcome(True, "elements", float(number), None, _nonfinite(found))


def _equal(found: torch.Tensor, baseline: torch.Tensor | None) -> Outcome:
    if baseline is None:
        return unfit("level 0 did not run in this dtype, so there is nothing to be equal to")
    if found.dtype != baseline.dtype:
        return Outcome(False, detail=f"expected {describe(baseline)}, found {describe(found)}")
    if bad := _nonfinite(found):
        return Outcome(False, "elements", math.inf, 0.0, bad)
    number = int((found != baseline).sum())
    detail = "" if number == 0 else f"{number} of {found.numel()} elements differ"
    return Outcome(number == 0, "elements", float(number), 0.0, detail)


def _same_values(found: torch.Tensor, reference: torch.Tensor) -> Outcome:
    """Integers and booleans have no rounding to excuse a difference."""
    number = int((found != reference).sum())
    detail = "" if number == 0 else f"{number} of {found.numel()} elements differ"
    return Outcome(number == 0, "elements", float(number), 0.0, detail)


def _errors(x: torch.Tensor, exact: torch.Tensor) -> tuple[float, float]:
    difference = x.double() - exact
    return float(difference.abs().max()), _rms(difference)


def _rms(x: torch.Tensor) -> float:
    """Root mean square, scaled so that squares neither overflow nor vanish."""
    greatest = float(x.abs().max())
    if greatest == 0 or not math.isfinite(greatest):
        return greatest
    return greatest * math.sqrt(float((x / greatest).square().mean()))


def _spacing(magnitude: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the distance between neighbouring values of ``dtype`` at each magnitude."""
    finfo = torch.finfo(dtype)
    exponent = torch.floor(torch.log2(torch.clamp(magnitude, min=finfo.tiny)))
    return torch.exp2(exponent) * finfo.eps


def _constants(exact: torch.Tensor) -> list[tuple[torch.Tensor, str]]:
    zeros = (torch.zeros_like(exact), "a tensor of zeros")
    if exact.numel() == 1:
        return [zeros]
    return [zeros, (torch.full_like(exact, float(exact.mean())), "a constant (the mean)")]


def _share(error: float, allowed: float) -> float:
    if error == 0:
        return 0.0
    return error / allowed if allowed > 0 else math.inf


def _nonfinite(x: torch.Tensor) -> str:
    """Count infinities and NaNs in words; "" when there are none."""
    if not x.is_floating_point():
        return ""
    counts = [(int(torch.isinf(x).sum()), "inf"), (int(torch.isnan(x).sum()), "NaN")]
    words = [f"{number} {name}" for number, name in counts if number]
    return f"{' and '.join(words)} of {x.numel()}" if words else ""


def _place(found: torch.Tensor, exact: torch.Tensor) -> str:
    """Say where the greatest difference is, and the two values there."""
    flat = int((found.double() - exact).abs().argmax())
    index = list(torch.unravel_index(torch.tensor(flat), found.shape)) if found.dim() else []
    where = f" at [{', '.join(str(int(i)) for i in index)}]" if index else ""
    value, expected = float(found.reshape(-1)[flat]), float(exact.reshape(-1)[flat])
    return f"greatest difference{where}: expected {expected:.6g}, found {value:.6g}"
