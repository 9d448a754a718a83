"""The runs a recipe asks for, each as a point: level, device, dtype, seed, variant.

:func:`points` says what to run, :func:`judge` what the outcomes come to. Between the two anybody
may run them, in any order and as many at a time as wanted. Nothing but :func:`judge` needs torch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from porter.verify.claims import Claim
from porter.verify.planned import Planned
from porter.verify.recipe_model import Variant, as_text

if TYPE_CHECKING:
    from porter.verify.result import Verdict
    from porter.verify.run import Failure
    from porter.verify.trace import Trace


@dataclass(frozen=True)
class Point:
    """One run of a recipe. ``variant`` holds (name, value as JSON) in the recipe's order.

    A ``shaken`` run tells how its outputs answer to rounding (:mod:`porter.verify.shaken`).
    """

    level: int
    device: str
    dtype: str
    seed: int
    variant: Variant = ()
    shaken: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The variant's values, as the probe gets them."""
        return {name: json.loads(text) for name, text in self.variant}


def points(planned: Planned) -> tuple[Point, ...]:
    """Return every run needed, each once: references, then baselines, then what is judged."""
    judged = judged_points(planned)
    references, baselines, others, shaken = [], [], [], []
    for point in judged:
        claims = claims_on(planned, point)
        if any(claim.needs_reference for claim in claims):
            references.append(reference_point(planned, point))
            baselines.append(baseline_point(planned, point))
        others += [target_point(planned, claim, point) for claim in claims if _compares(claim)]
        settled = [noise_point(planned, claim, point, claims) for claim in claims]
        shaken += [replace(each, shaken=True) for each in settled if each is not None]
    return tuple(dict.fromkeys((*references, *baselines, *others, *shaken, *judged)))


def judged_points(planned: Planned) -> tuple[Point, ...]:
    """Return the runs that verdicts are given on, in the order of the verdicts.

    Where a level is claimed on some devices or variants only, it is not run on the others. A level
    that nobody claims anywhere stays in, so that the verdict says so.
    """
    recipe = planned.loaded.recipe
    found = []
    for seed, variant in itertools.product(recipe.seeds, recipe.variants):
        for device, dtype in itertools.product(planned.devices, recipe.dtypes):
            for level in planned.levels:
                point = Point(level.number, device, dtype, seed, variant)
                if level.number in planned.chosen and (
                    claims_on(planned, point) or not _claimed_elsewhere(planned, point)
                ):
                    found.append(point)
    return tuple(found)


def _claimed_elsewhere(planned: Planned, point: Point) -> bool:
    recipe = planned.loaded.recipe
    return any(
        claims_on(planned, replace(point, device=device, variant=variant))
        for device, variant in itertools.product(recipe.devices, recipe.variants)
    )


def claims_on(planned: Planned, point: Point) -> list[Claim]:
    """Return the claims that speak of a run."""
    return list(_speaking(planned, point))


def _speaking(planned: Planned, point: Point) -> Iterator[Claim]:
    values = dict(point.variant)
    claims = planned.loaded.recipe.claims
    for claim, levels in zip(claims, planned.claim_levels, strict=True):
        if (
            point.level in levels
            and (claim.devices is None or point.device in claim.devices)
            and (claim.dtypes is None or point.dtype in claim.dtypes)
            and all(
                values.get(name) in [as_text(value) for value in several]
                for name, several in claim.where.items()
            )
            and not (claim.less_than and target_point(planned, claim, point) == point)
        ):
            yield claim


def reference_point(planned: Planned, point: Point) -> Point:
    """Return the reference run of a point: level 0, where and in what the recipe says."""
    recipe = planned.loaded.recipe
    return replace(point, level=0, device=recipe.reference.device, dtype=recipe.reference_dtype)


def baseline_point(planned: Planned, point: Point) -> Point:
    """Return the run whose error is the allowance: level 0 in the point's own dtype."""
    return replace(point, level=0, device=planned.loaded.recipe.baseline_device)


def noise_point(
    planned: Planned, claim: Claim, point: Point, claims: Sequence[Claim]
) -> Point | None:
    """Return the run whose shaken twin tells the noise of what a claim holds, if that is needed.

    It is level 0's in the point's dtype where one of the ``claims`` on the point has it run, else
    the run that the claim compares with.
    """
    if not claim.has_tolerance:
        return None
    if any(other.needs_reference for other in claims):
        return baseline_point(planned, point)
    return target_point(planned, claim, point)


def _compares(claim: Claim) -> bool:
    return bool(claim.against or claim.less_than or claim.ratio)


def target_point(planned: Planned, claim: Claim, point: Point) -> Point:
    """Return the run that a claim with ``against``, ``less_than`` or ``ratio`` compares with."""
    level = planned.target_level(claim, point.level)
    other = claim.against or claim.less_than
    if other is None:
        return replace(point, level=level)
    values = {name: as_text(value) for name, value in other.where.items()}
    variant = tuple((name, values.get(name, text)) for name, text in point.variant)
    return replace(point, level=level, device=other.device or point.device, variant=variant)


def held_to(planned: Planned, claim: Claim, point: Point) -> Point | None:
    """Return the run that a claim holds a point to; None for a claim that needs no other run."""
    if _compares(claim):
        return target_point(planned, claim, point)
    if claim.subject != "outputs" or claim.kind_name == "finite":
        return None
    if claim.kind_name in ("parity", "loss_curve", "equal"):
        return baseline_point(planned, point)
    return reference_point(planned, point)


def held_to_itself(planned: Planned, point: Point) -> bool:
    """Whether every claim on a point compares it with itself, so that none could fail."""
    return all(held_to(planned, claim, point) == point for claim in claims_on(planned, point))


def judge(planned: Planned, outcomes: Mapping[Point, Trace | Failure]) -> list[Verdict]:
    """Hold the outcomes of a recipe's runs to its claims.

    A point of :func:`points` that ``outcomes`` lacks counts as a run that was not made.
    """
    from porter.verify.verdict import judge_outcomes

    return judge_outcomes(planned, outcomes)
