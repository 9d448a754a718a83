"""What each claim of a recipe measures on each mutant, whether or not another claim catches it.

A claim **measured** a mutant when some run or output of it came out worse than without the mutant;
its margin is the worst of these. A mutant is tried on all runs of a recipe that execute its line.
What came out is kept under the recipe's claims without their single figures
(:data:`porter.mutation.stated.SINGLE`): another figure is judged on what is kept, and runs nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from porter.atomic import write_json
from porter.mutation.mutant_trees import MutantTrees, mutant_level
from porter.mutation.mutants import Mutant
from porter.mutation.mutation_run import Baseline, MutationRun, level_of, with_level, words_of
from porter.mutation.stated import JudgeContext, by_claim, figure, form
from porter.process import Stopped
from porter.verify.cache.keys import judge_hash
from porter.verify.execution.scheduler import Runs
from porter.verify.judge import judge
from porter.verify.plan.job import Failure
from porter.verify.plan.matrix import RunSpec

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.recipe.claims import Claim


@dataclass(frozen=True)
class Margin:
    """The worst that one claim measured: ``value`` against ``allowed``, on which run and output.

    ``value`` is None where there is nothing to measure: the output is missing, or of another shape.
    """

    claim: int
    value: float | None
    allowed: float | None
    measure: str
    lower: bool
    held: bool
    where: str

    @property
    def badness(self) -> float:
        """Orders the margins of one claim: the greater, the further from what is right."""
        return _badness(self.value, self.allowed, self.lower)

    def under(self, claim: Claim) -> Margin:
        """The same measure, held to the claim's figure as it stands in the recipe now."""
        limit = figure(claim)
        if limit is None or self.value is None:
            return self
        held = self.value >= limit if self.lower else self.value <= limit
        return replace(self, allowed=limit, held=held)


@dataclass(frozen=True)
class Tried:
    """One recipe's runs with one mutant. ``failed`` says how a run failed, and then nothing was
    measured; ``other`` is what else was bad, as a claim across runs or an output nobody claims."""

    mutant: Mutant
    recipe: str
    margins: tuple[Margin, ...] = ()
    failed: str = ""
    other: str = ""

    @property
    def is_caught(self) -> bool:
        """Whether the recipe notices the mutant."""
        return bool(self.failed or self.other or any(not one.held for one in self.margins))


def measure(
    hunt: MutationRun, runs: Runs, grounds: Sequence[Baseline], mutants: Sequence[Mutant]
) -> Iterator[list[Tried]]:
    """Yield what every recipe that runs over a mutant makes of it, mutant by mutant."""

    def attempt(
        runs: Runs, trees: MutantTrees, grounds: Sequence[Baseline], mutant: Mutant
    ) -> list[Tried]:
        tried, made = [], None
        try:
            for ground in grounds:
                hunt.watch(runs, ground)
                if not (touched := ground.touched(mutant)):
                    continue
                place = hunt.kept / "margins" / f"{_key(mutant, ground)}.json"
                found = _recall(place, mutant, ground)
                if found is None:
                    made = made or trees.add(level_of(ground), mutant)
                    found = _try(runs, ground, with_level(ground, made), touched, mutant)
                    write_json(place, _kept(found))
                tried.append(found)
        finally:
            if made is not None:
                trees.remove(made)
        return tried

    return hunt.each(runs, grounds, mutants, attempt)


def worst_without(ground: Baseline) -> dict[int, Margin]:
    """Return the worst that each claim measures without any mutant."""
    found = by_claim(ground.planned, ground.verdicts)
    return {index: _worst(index, several) for index, several in found.items()}


def _try(
    runs: Runs, ground: Baseline, planned: RecipePlan, touched: Sequence[RunSpec], mutant: Mutant
) -> Tried:
    name = ground.planned.loaded.name
    failed: list[Failure] = []

    def has_failed(_: RunSpec, outcome: Trace | Failure) -> bool:
        if isinstance(outcome, Failure):
            if outcome.kind == "stopped":
                raise Stopped
            failed.append(outcome)
        return bool(failed)

    outcomes = runs.outcomes(planned, touched, until=has_failed)
    if failed:
        return Tried(mutant, name, failed=failed[0].reason)
    verdicts = judge(ground.planned, {**ground.outcomes, **outcomes})
    before = by_claim(ground.planned, ground.verdicts)
    found = by_claim(ground.planned, verdicts)
    margins = []
    for index, several in found.items():
        worse = {at: v for at, v in several.items() if _is_worse(v, before[index].get(at))}
        if worse:
            margins.append(_worst(index, worse))
    known = {id(verdict) for several in found.values() for verdict in several.values()}
    other = next((words_of(v) for v in verdicts if v.bad and id(v) not in known), "")
    return Tried(mutant, name, tuple(margins), other=other)


def _is_worse(verdict: Verdict, before: Verdict | None) -> bool:
    if before is None or verdict.bad:
        return True
    return _verdict_badness(verdict) > _verdict_badness(before)


def _worst(index: int, verdicts: Mapping[JudgeContext, Verdict]) -> Margin:
    (point, name), verdict = max(verdicts.items(), key=lambda item: _verdict_badness(item[1]))
    values = [f"{key} {text}" for key, text in point.variant]
    where = ", ".join([name, f"{point.dtype} on {point.device}", *values])
    return Margin(
        index,
        verdict.error,
        verdict.allowed,
        verdict.measure,
        verdict.lower,
        not verdict.bad,
        where,
    )


def _verdict_badness(verdict: Verdict) -> float:
    return _badness(verdict.error, verdict.allowed, verdict.lower)


def _badness(value: float | None, allowed: float | None, lower: bool) -> float:
    if value is None or math.isnan(value):
        return math.inf
    if lower:
        return -value
    return value / allowed if allowed else value


def _key(mutant: Mutant, ground: Baseline) -> str:
    """The hash of everything that decides what the claims measure."""
    recipe = ground.planned.loaded.recipe
    facts = {
        "judge": judge_hash(),
        "mutant": [mutant_level(level_of(ground), mutant).tree, mutant.after],
        "recipe": [ground.planned.loaded.name, [form(claim) for claim in recipe.claims]],
        "limits": msgspec.to_builtins(recipe.limits),
        "runs": {str(astuple(point)): known.key for point, known in ground.known.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def _kept(tried: Tried) -> dict[str, Any]:
    margins = [astuple(margin) for margin in tried.margins]
    return {"failed": tried.failed, "other": tried.other, "margins": margins}


def _recall(place: Path, mutant: Mutant, ground: Baseline) -> Tried | None:
    """What was kept, its figures held to the recipe's claims as they stand now."""
    loaded = ground.planned.loaded
    try:
        told = json.loads(place.read_text())
        margins = [Margin(*one) for one in told["margins"]]
        now = [one.under(loaded.recipe.claims[one.claim]) for one in margins]
        return Tried(mutant, loaded.name, tuple(now), told["failed"], told["other"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
