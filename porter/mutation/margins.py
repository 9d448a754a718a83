"""What each claim of a recipe measures on each mutant, whether or not another claim catches it.

A claim **measured** a mutant when one of its runs or outputs came out worse than without the
mutant; its margin is the worst of these. A mutant is tried on all runs of a recipe that execute its
line. Results are cached under the recipe's claims without their single figures
(:data:`porter.mutation.stated.SINGLE`): another figure is compared with them, and nothing runs.
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

from porter.atomic import read_json, write_json
from porter.mutation.mutant_trees import MutantTrees, mutant_level
from porter.mutation.mutants import Mutant
from porter.mutation.mutation_run import Baseline, MutationRun, describe, with_level
from porter.mutation.stated import Measurement, by_claim, figure, form
from porter.process import Stopped
from porter.verify.cache.keys import judge_hash
from porter.verify.execution.scheduler import Runs
from porter.verify.judge import judge
from porter.verify.plan.matrix import Failure, RunSpec

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.recipe.claims import Claim


@dataclass(frozen=True)
class Margin:
    """The worst value that one claim measured, what is ``allowed``, and on which run and output.

    ``value`` is None where nothing can be measured: the output is missing or has another shape.
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
        """Orders the margins of one claim: the greater, the further from the correct value."""
        return _badness(self.value, self.allowed, self.lower)

    def under(self, claim: Claim) -> Margin:
        """Return the same measurement, compared with the claim's figure in the recipe as of now."""
        limit = figure(claim)
        if limit is None or self.value is None:
            return self
        held = self.value >= limit if self.lower else self.value <= limit
        return replace(self, allowed=limit, held=held)


@dataclass(frozen=True)
class Tried:
    """One recipe's runs with one mutant. ``failed`` says how a run failed (then nothing was
    measured), ``other`` what else was bad: a claim across runs, or an output without a claim."""

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
    run: MutationRun, runs: Runs, baselines: Sequence[Baseline], mutants: Sequence[Mutant]
) -> Iterator[list[Tried]]:
    """Yield, mutant by mutant, the results of every recipe that executes its line."""

    def attempt(
        runs: Runs, trees: MutantTrees, baselines: Sequence[Baseline], mutant: Mutant
    ) -> list[Tried]:
        tried, made = [], None
        try:
            for baseline in baselines:
                run.find_lines(runs, baseline)
                if not (specs := baseline.runs_over(mutant)):
                    continue
                path = run.cache / "margins" / f"{_key(mutant, baseline)}.json"
                found = _recall(path, mutant, baseline)
                if found is None:
                    made = made or trees.add(baseline.level_tree, mutant)
                    found = _try(runs, baseline, with_level(baseline, made), specs, mutant)
                    write_json(path, _cached(found))
                tried.append(found)
        finally:
            if made is not None:
                trees.remove(made)
        return tried

    return run.each(runs, baselines, mutants, attempt)


def worst_without(baseline: Baseline) -> dict[int, Margin]:
    """Return the worst value that each claim measures without any mutant."""
    found = by_claim(baseline.planned, baseline.verdicts)
    return {index: _worst(index, several) for index, several in found.items()}


def _try(
    runs: Runs, baseline: Baseline, planned: RecipePlan, specs: Sequence[RunSpec], mutant: Mutant
) -> Tried:
    name = baseline.planned.loaded.name
    failed: list[Failure] = []

    def has_failed(_: RunSpec, outcome: Trace | Failure) -> bool:
        if isinstance(outcome, Failure):
            if outcome.kind == "stopped":
                raise Stopped
            failed.append(outcome)
        return bool(failed)

    outcomes = runs.outcomes(planned, specs, until=has_failed)
    if failed:
        return Tried(mutant, name, failed=failed[0].reason)
    verdicts = judge(baseline.planned, {**baseline.outcomes, **outcomes})
    before = by_claim(baseline.planned, baseline.verdicts)
    found = by_claim(baseline.planned, verdicts)
    margins = []
    for index, several in found.items():
        worse = {at: v for at, v in several.items() if _is_worse(v, before[index].get(at))}
        if worse:
            margins.append(_worst(index, worse))
    known = {id(verdict) for several in found.values() for verdict in several.values()}
    other = next((describe(v) for v in verdicts if v.bad and id(v) not in known), "")
    return Tried(mutant, name, tuple(margins), other=other)


def _is_worse(verdict: Verdict, before: Verdict | None) -> bool:
    if before is None or verdict.bad:
        return True
    return _verdict_badness(verdict) > _verdict_badness(before)


def _worst(index: int, verdicts: Mapping[Measurement, Verdict]) -> Margin:
    (spec, name), verdict = max(verdicts.items(), key=lambda item: _verdict_badness(item[1]))
    values = [f"{key} {text}" for key, text in spec.variant]
    where = ", ".join([name, f"{spec.dtype} on {spec.device}", *values])
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


def _key(mutant: Mutant, baseline: Baseline) -> str:
    """Return the hash of everything that decides what the claims measure."""
    recipe = baseline.planned.loaded.recipe
    facts = {
        "judge": judge_hash(),
        "mutant": [mutant_level(baseline.level_tree, mutant).tree, mutant.after],
        "recipe": [baseline.planned.loaded.name, [form(claim) for claim in recipe.claims]],
        "limits": msgspec.to_builtins(recipe.limits),
        "runs": {str(astuple(spec)): known.key for spec, known in baseline.known.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def _cached(tried: Tried) -> dict[str, Any]:
    margins = [astuple(margin) for margin in tried.margins]
    return {"failed": tried.failed, "other": tried.other, "margins": margins}


def _recall(path: Path, mutant: Mutant, baseline: Baseline) -> Tried | None:
    """Return the cached result, compared with the figures of the recipe's claims as of now."""
    loaded = baseline.planned.loaded
    try:
        data = read_json(path)
        margins = [Margin(*one) for one in data["margins"]]
        now = [one.under(loaded.recipe.claims[one.claim]) for one in margins]
        return Tried(mutant, loaded.name, tuple(now), data["failed"], data["other"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
