"""Find the level that broke a claim by binary search over the levels that the claim covers.

The search starts from a level with bad verdicts and follows these: a level is bad when one of them
is bad there too. It ends at two neighbouring levels, one good and one bad, both judged: the border
is never inferred. If a claim breaks, is mended and breaks again, the border found is one of
several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from porter.verify.execution.scheduler import Runs
from porter.verify.judge import judge
from porter.verify.judge.result import Verdict
from porter.verify.plan.matrix import RecipePlan, RunSpec, claims_on, run_specs

Followed = tuple[str, str, str, str, str, int, tuple[tuple[str, str], ...]]
"""What a verdict is about, except its level: subject, output, claim, device, dtype, seed, variant.
A failed run has no output and no claim, and breaks every claim on it."""
Judge = Callable[[int], list[Verdict]]
"""Returns the verdicts on one level, by its number."""
OnLevel = Callable[[int, bool], None]
"""Called with each level judged, and whether it is good."""


@dataclass(frozen=True)
class Border:
    """Where a claim broke: ``last_good`` (None: every judged level is bad) and ``first_bad``.

    The two are neighbours among the levels that the claim covers; ``verdicts`` are the bad ones.
    """

    last_good: int | None
    first_bad: int
    verdicts: tuple[Verdict, ...]


def judge_level(planned: RecipePlan, runs: Runs) -> Judge:
    """Return a function that judges one level of a recipe, making the runs that are missing."""

    def judged(level: int) -> list[Verdict]:
        alone = replace(planned, chosen=frozenset({level}))
        return judge(alone, runs.outcomes(alone, run_specs(alone)))

    return judged


def bad_on(verdicts: Iterable[Verdict], level: int, output: str = "*") -> list[Verdict]:
    """Return the bad verdicts on a level, on outputs and counters of a pattern and failed runs."""
    return [
        v
        for v in verdicts
        if v.bad and v.level == level and (not v.output or fnmatchcase(v.output, output))
    ]


def followed(verdict: Verdict) -> Followed:
    """Return what a verdict is about, except its level."""
    v = verdict
    return v.subject, v.output, v.claim, v.device, v.dtype, v.seed, v.variant


def covered_levels(planned: RecipePlan, bad: Sequence[Verdict]) -> list[int]:
    """Return the levels, lowest first, that the claims behind some bad verdicts cover."""
    return sorted(level for level in planned.chosen if any(_covers(planned, level, v) for v in bad))


def _covers(planned: RecipePlan, level: int, verdict: Verdict) -> bool:
    """Whether the claim behind a verdict (of a failed run: any claim) covers a level.

    The verdict of a claim across variants lacks the varied value.
    """
    variants = planned.loaded.recipe.variants
    return any(
        not verdict.claim
        or (
            (claim.subject, claim.kind_name) == (verdict.subject, verdict.claim)
            and (claim.names(verdict.output) or claim.pattern == verdict.output)
        )
        for variant in variants
        if set(verdict.variant) <= set(variant)
        for claim in claims_on(
            planned, RunSpec(level, verdict.device, verdict.dtype, verdict.seed, variant)
        )
    )


def find_border(
    levels: Sequence[int], bad: Sequence[Verdict], judged: Judge, on_level: OnLevel
) -> Border:
    """Return the border at or below the level of ``bad``, its bad verdicts (not empty).

    ``levels`` are those to search, lowest first, including that level.
    """
    follow = {followed(verdict) for verdict in bad}
    follows_runs = any(not verdict.output for verdict in bad)
    candidates = [level for level in levels if level <= bad[0].level]
    worst: dict[int, tuple[Verdict, ...]] = {bad[0].level: tuple(bad)}

    def is_bad(level: int) -> bool:
        if level not in worst:
            there = bad_on(judged(level), level)
            worst[level] = tuple(
                v for v in there if followed(v) in follow or not v.output or follows_runs
            )
            on_level(level, not worst[level])
        return bool(worst[level])

    high = len(candidates) - 1
    if high == 0 or is_bad(candidates[0]):
        return Border(None, candidates[0], worst[candidates[0]])
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if is_bad(candidates[middle]):
            high = middle
        else:
            low = middle
    return Border(candidates[low], candidates[high], worst[candidates[high]])
