"""Decide whether rounding explains the difference of a tensor between two runs.

``x`` is the second run's tensor, ``b`` the first run's in the same dtype, ``r`` the first run's in
float64. By the rule of parity (:mod:`porter.verify.judge.parity`) rounding explains ``x`` when

    max|x - r| <= factor * max|b - r| + ulps * eps * max|r|,    and so for the root mean square

with ``eps`` of the dtype that the first run computes in. Without ``r`` the two runs are
compared directly: ``max|x - b| <= loose_ulps * eps * max|b|``. Integers and booleans do not round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from porter.verify.divergence.timeline import TensorSample
from porter.verify.judge.parity import greatest, rms, share


@dataclass(frozen=True)
class Allowance:
    """The bound on what counts as rounding."""

    factor: float = 2.0
    ulps: float = 8.0
    loose_ulps: float = 64.0


@dataclass(frozen=True)
class Difference:
    """The difference of a tensor from its counterpart, and what rounding allows.

    ``measure`` is "max", "rms", "elements" (that differ, of integers), "shape" or "dtype";
    ``own_error`` is the first run's. ``unseen``: something differs, but no element that was kept.
    """

    name: str
    first: str
    second: str
    measure: str = ""
    error: float = 0.0
    allowed: float = 0.0
    own_error: float | None = None
    unseen: bool = False

    @property
    def diverges(self) -> bool:
        return self.error > self.allowed

    @property
    def share(self) -> float:
        """The error in units of what is allowed."""
        return share(self.error, self.allowed)


def differences(
    first: Sequence[TensorSample],
    second: Sequence[TensorSample],
    exact: Sequence[TensorSample] | None,
    rule: Allowance,
) -> list[Difference]:
    """Compare the tensors of two activations, or of two ops, by name where names are the same."""
    by_name = {sample.name: sample for sample in first}
    found = []
    for index, sample in enumerate(second):
        other = by_name.get(sample.name) if len(by_name) == len(first) else None
        other = other or (first[index] if index < len(first) else None)
        if other is None:
            continue
        reference = next((r for r in exact or () if r.name == other.name), None)
        found.append(difference(other, sample, reference, rule))
    return found


def difference(
    first: TensorSample, second: TensorSample, exact: TensorSample | None, rule: Allowance
) -> Difference:
    """Compare one tensor of two runs."""
    comparison = Difference(second.name, first.shown, second.shown)
    if first.digest == second.digest:
        return comparison
    if first.shape != second.shape:
        return replace(comparison, measure="shape", error=math.inf)
    others = [exact] if exact is not None and exact.shape == first.shape else []
    samples = [second, first, *others]
    kept = [(each.values, each.step) for each in samples if each.values is not None]
    if len(kept) < len(samples):
        return comparison
    # The elements that were kept of all: steps are multiples of each other.
    common = math.lcm(*(step for _, step in kept))
    x, b, *rest = [values[:: common // step] for values, step in kept]
    r = rest[0] if rest else None
    if torch.equal(x, b):
        return replace(comparison, unseen=first.dtype == second.dtype)
    dtype = getattr(torch, first.dtype)
    if not dtype.is_floating_point and not dtype.is_complex:
        return replace(comparison, measure="elements", error=float((x != b).sum()))
    if not bool(torch.isfinite(b).all()):
        return comparison  # the first run overflows: nothing to compare with
    if not bool(torch.isfinite(x).all()):
        return replace(comparison, measure="max", error=math.inf)
    eps = torch.finfo(dtype).eps
    if r is None or not bool(torch.isfinite(r).all()):
        allowed = rule.loose_ulps * eps * greatest(b)
        return replace(comparison, measure="max", error=greatest(x - b), allowed=allowed)
    worst = comparison
    for measure, norm in (("max", greatest), ("rms", rms)):
        own = norm(b - r)
        allowed = rule.factor * own + rule.ulps * eps * norm(r)
        one = Difference(second.name, first.shown, second.shown, measure, norm(x - r), allowed, own)
        worst = one if one.share > worst.share or not worst.measure else worst
    return worst
