"""Claims with a stated bound, and the verdicts that belong to each claim.

A bound is **stated** where a figure in the recipe decides, not a reference run: psnr, ssim,
allclose, within_ulps, same_distribution, at_most, at_least, less_than, and parity or loss_curve
with another factor or other ulps than the usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from porter.verify.plan.matrix import RunSpec, claims_on
from porter.verify.recipe.claims import FACTOR, FLOOR_ULPS, Claim

if TYPE_CHECKING:
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan

SINGLE: Final = {
    "psnr": "at_least",
    "ssim": "at_least",
    "within_ulps": "ulps",
    "same_distribution": "p",
    "at_most": None,
    "at_least": None,
}
"""Kinds that compare one measured value with one figure, so that what they measure does not depend
on it -> the figure's key (None: the claim's own value)."""
_FIGURES: Final = ("allclose", "less_than")
_OWN_FIGURES: Final = ("parity", "loss_curve")

Measurement = tuple[RunSpec, str]
"""What one claim is judged on: a run, and the name of an output or counter."""


def is_stated(claim: Claim) -> bool:
    """Whether the claim states a bound of its own."""
    kind = getattr(claim, claim.kind_name)
    if claim.kind_name in _OWN_FIGURES:
        return (kind.factor, kind.ulps) != (FACTOR, FLOOR_ULPS)
    return claim.kind_name in SINGLE or claim.kind_name in _FIGURES


def figure(claim: Claim) -> float | None:
    """Return the one figure that decides; None where there is none or several."""
    if claim.kind_name not in SINGLE:
        return None
    key = SINGLE[claim.kind_name]
    kind = getattr(claim, claim.kind_name)
    return float(kind if key is None else getattr(kind, key))


def bound(claim: Claim) -> str:
    """Return the claim's kind and figures, as the recipe has them."""
    kind: Any = getattr(claim, claim.kind_name)
    if isinstance(kind, float | int):
        return f"{claim.kind_name} {kind:g}"
    data: dict[str, Any] = msgspec.to_builtins(kind)
    words = [
        f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
        for name, value in data.items()
        if name not in ("reason", "where", "peak") and value not in (None, 0)
    ]
    return " ".join([claim.kind_name, *words])


def form(claim: Claim) -> dict[str, Any]:
    """Return the claim as data, without reasons and single figures: they do not change values."""
    data: dict[str, Any] = msgspec.to_builtins(claim)
    kind = data[claim.kind_name]
    if not isinstance(kind, dict):
        if claim.kind_name in SINGLE:
            data[claim.kind_name] = True
        return data
    kind.pop("reason", None)
    if key := SINGLE.get(claim.kind_name):
        kind.pop(key)
    return data


def by_claim(
    planned: RecipePlan, verdicts: Sequence[Verdict]
) -> dict[int, dict[Measurement, Verdict]]:
    """Return the verdicts of each claim, by its index in the recipe.

    A verdict on a whole output (missing, or of another shape) belongs to every claim on it. Failed
    runs, and claims across runs, are left out.
    """
    groups: dict[tuple[RunSpec, str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(_subject(verdict), []).append(verdict)
    found: dict[int, dict[Measurement, Verdict]] = {}
    for (spec, name, _, _), several in groups.items():
        for index, verdict in _claims_of(planned, spec, several):
            found.setdefault(index, {})[(spec, name)] = verdict
    return found


def _subject(verdict: Verdict) -> tuple[RunSpec, str, str, str]:
    spec = RunSpec(verdict.level, verdict.device, verdict.dtype, verdict.seed, verdict.variant)
    kind = verdict.claim if verdict.subject == "counters" else ""  # one verdict per claim
    return spec, verdict.output, verdict.subject, kind


def _claims_of(
    planned: RecipePlan, spec: RunSpec, verdicts: Sequence[Verdict]
) -> Iterator[tuple[int, Verdict]]:
    """Pair the verdicts on one output or counter with its claims, which come in the same order."""
    first = verdicts[0]
    counted = first.subject == "counters"
    claims = [
        claim
        for claim in claims_on(planned, spec)
        if claim.subject == first.subject
        and claim.independent_of is None
        and (not counted or claim.kind_name == first.claim)
        and (claim.names(first.output) or claim.pattern == first.output)
    ]
    if len(verdicts) != len(claims):  # missing, or of another shape: one or two verdicts
        worst = next((verdict for verdict in verdicts if verdict.bad), first)
        verdicts = [worst] * len(claims)
    for claim, verdict in zip(claims, verdicts, strict=True):
        yield planned.index(claim), verdict
