"""What each claim of a recipe measures on each mutant, whether or not another claim catches it.

A claim **measured** a mutant when one of its runs or outputs came out worse than without the
mutant; its margin is the worst of these. A mutant is tried on all runs of a recipe that execute its
line. Results are cached under the recipe's claims without their single figures (:data:`SINGLE`):
another figure is compared with them, and nothing runs.

A bound is **stated** where a figure in the recipe decides, not a reference run: psnr, ssim,
allclose, within_ulps, same_distribution, at_most, at_least, less_than, and parity or loss_curve
with another factor or other ulps than the usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from porter.atomic import read_json, write_json
from porter.mutation.mutants import Mutant
from porter.mutation.mutation_run import Baseline, MutationRun, describe, result_key, with_mutant
from porter.process import Stopped
from porter.verify.execution.scheduler import Runs
from porter.verify.judge import judge
from porter.verify.judge.result import whole_text
from porter.verify.plan.matrix import Failure, RunSpec, claims_on
from porter.verify.recipe.claim_key import SINGLE, claim_form
from porter.verify.recipe.claims import FACTOR, FLOOR_ULPS, Claim

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan

_FIGURES: Final = ("allclose", "less_than")
_OWN_FIGURES: Final = ("parity", "loss_curve")

Measurement = tuple[RunSpec, str]
"""What one claim is judged on: a run, and the name of an output or counter."""


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
        if self.value is None or math.isnan(self.value):
            return math.inf
        if self.lower:
            return -self.value
        return self.value / self.allowed if self.allowed else self.value

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

    def attempt(runs: Runs, baselines: Sequence[Baseline], mutant: Mutant) -> list[Tried]:
        tried = []
        for baseline in baselines:
            run.find_lines(runs, baseline)
            if not (specs := baseline.runs_over(mutant)):
                continue
            loaded = baseline.planned.loaded
            claims = [claim_form(claim) for claim in loaded.recipe.claims]
            limits = msgspec.to_builtins(loaded.recipe.limits)
            key = result_key(mutant, baseline, recipe=[loaded.name, claims], limits=limits)
            path = run.cache / "margins" / f"{key}.json"
            found = _recall(path, mutant, baseline)
            if found is None:
                found = _try(runs, baseline, specs, mutant)
                margins = [astuple(margin) for margin in found.margins]
                cached = {"failed": found.failed, "other": found.other, "margins": margins}
                write_json(path, cached)
            tried.append(found)
        return tried

    return run.each(runs, baselines, mutants, attempt)


def worst_without(baseline: Baseline) -> dict[int, Margin]:
    """Return the worst value that each claim measures without any mutant."""
    found = by_claim(baseline.planned, baseline.verdicts)
    return {index: _worst(index, several.items()) for index, several in found.items()}


def _try(runs: Runs, baseline: Baseline, specs: Sequence[RunSpec], mutant: Mutant) -> Tried:
    name = baseline.planned.loaded.name
    failed: list[Failure] = []

    def has_failed(_: RunSpec, outcome: Trace | Failure) -> bool:
        if isinstance(outcome, Failure):
            if outcome.kind == "stopped":
                raise Stopped
            failed.append(outcome)
        return bool(failed)

    outcomes = runs.outcomes(with_mutant(baseline, mutant), specs, until=has_failed)
    if failed:
        return Tried(mutant, name, failed=failed[0].reason)
    verdicts = judge(baseline.planned, {**baseline.outcomes, **outcomes})
    before = by_claim(baseline.planned, baseline.verdicts)
    found = by_claim(baseline.planned, verdicts)
    margins = []
    for index, several in found.items():
        own = before[index]
        worse = [
            (at, v)
            for at, v in several.items()
            if v.bad
            or at not in own
            or _margin(index, at, v).badness > _margin(index, at, own[at]).badness
        ]
        if worse:
            margins.append(_worst(index, worse))
    known = {id(verdict) for several in found.values() for verdict in several.values()}
    other = next((describe(v) for v in verdicts if v.bad and id(v) not in known), "")
    return Tried(mutant, name, tuple(margins), other=other)


def _worst(index: int, verdicts: Iterable[tuple[Measurement, Verdict]]) -> Margin:
    return max((_margin(index, *each) for each in verdicts), key=lambda margin: margin.badness)


def _margin(index: int, at: Measurement, verdict: Verdict) -> Margin:
    spec, name = at
    values = [f"{key} {text}" for key, text in spec.variant]
    where = ", ".join([name, f"{spec.dtype} on {spec.device}", *values])
    v = verdict
    return Margin(index, v.error, v.allowed, v.measure, v.lower, not v.bad, where)


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
        return f"{claim.kind_name} {whole_text(kind)}"
    data: dict[str, Any] = msgspec.to_builtins(kind)
    words = [
        f"{name} {value:g}" if isinstance(value, float | int) else f"{name} {value}"
        for name, value in data.items()
        if name not in ("reason", "where", "peak") and value not in (None, 0)
    ]
    return " ".join([claim.kind_name, *words])


def by_claim(
    planned: RecipePlan, verdicts: Sequence[Verdict]
) -> dict[int, dict[Measurement, Verdict]]:
    """Return the verdicts of each claim, by its index in the recipe.

    A verdict on a whole output (missing, or of another shape) belongs to every claim on it. Failed
    runs, and claims across runs, are left out.
    """
    groups: dict[tuple[RunSpec, str, str, str], list[Verdict]] = {}
    for v in verdicts:
        kind = v.claim if v.subject == "counters" else ""  # one verdict per claim
        run = RunSpec(v.level, v.device, v.dtype, v.seed, v.variant)
        groups.setdefault((run, v.output, v.subject, kind), []).append(v)
    found: dict[int, dict[Measurement, Verdict]] = {}
    for (spec, name, _, _), several in groups.items():
        for index, verdict in _claims_of(planned, spec, several):
            found.setdefault(index, {})[(spec, name)] = verdict
    return found


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
