"""Compare each claim's stated bound with the mutants it measured: is it weaker than one of them?

A claim is **loose** when it passes a mutant that it measured and no other claim of its recipe
catches that mutant: its value came out worse than without the mutant, and the recipe passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.mutation.margins import Margin, Tried, bound, is_stated, measure, worst_without
from porter.mutation.mutants import Mutant
from porter.mutation.mutation_run import Say, mutation_run
from porter.verify.judge.result import KnownWrong, number_to_json
from porter.verify.known_wrong import OfClaims, known_wrong
from porter.verify.recipe.claim_key import claim_key

if TYPE_CHECKING:
    from porter.mutation.mutation_run import Baseline
    from porter.mutation.plan import MutationPlan
    from porter.verify.execution.session import Options
    from porter.verify.plan.trees import Trees
    from porter.verify.recipe.claims import Claim


@dataclass(frozen=True)
class Measured:
    """What a claim measured on a mutant; ``elsewhere``: another claim of the recipe catches it."""

    mutant: Mutant
    margin: Margin
    elsewhere: bool


@dataclass(frozen=True)
class ClaimRow:
    """One claim: its line, its bound, the worst value without a mutant, and every mutant that it
    measured, the weakest (the one nearest to the correct value) first."""

    line: int
    subject: str
    bound: str
    correct: Margin | None
    measured: tuple[Measured, ...]

    @property
    def weakest(self) -> Measured | None:
        """The mutant that comes nearest to the correct value."""
        return self.measured[0] if self.measured else None

    @property
    def passed(self) -> list[Measured]:
        """The mutants that the claim measured and passes."""
        return [one for one in self.measured if one.margin.held]

    @property
    def is_loose(self) -> bool:
        """Whether it passes a mutant that no other claim of the recipe catches."""
        return not all(one.elsewhere for one in self.passed)


@dataclass(frozen=True)
class RecipeRows:
    """A recipe: how many mutants its runs execute (``over``), its claims with a stated bound, and
    what every claim measured on the mutants."""

    name: str
    path: Path
    over: int
    caught: int
    failed: int
    unmeasured: int
    claims: tuple[ClaimRow, ...]
    measured: OfClaims = field(default_factory=dict)

    @property
    def missed(self) -> int:
        """How many mutants some claim measured and every claim passes."""
        return self.over - self.caught - self.unmeasured


def measure_claims(
    plan: MutationPlan,
    trees: Trees,
    cache: Path,
    options: Options,
    say: Say,
    tried: Callable[[], None],
) -> list[RecipeRows]:
    """Try every mutant of a plan on all recipes, and return what their claims measured, by name.

    ``cache`` is porter's cache folder; ``tried`` is called after each mutant. Raises CheckFailed
    when a recipe fails without any mutant, EnvironmentFailed.
    """
    run = mutation_run(plan, trees, cache, options, say)
    found: dict[str, list[Tried]] = {}
    own: dict[str, list[Baseline]] = {}
    with run.opened(plan.recipes, plan.to_try) as (runs, baselines):
        for baseline in baselines:
            own.setdefault(baseline.planned.loaded.name, []).append(baseline)
        for several in measure(run, runs, baselines, plan.to_try):
            for one in several:
                found.setdefault(one.recipe, []).append(one)
            tried()
    return [_recipe(own[name], found.get(name, [])) for name in sorted(own)]


def _recipe(baselines: Sequence[Baseline], tried: Sequence[Tried]) -> RecipeRows:
    loaded = baselines[0].planned.loaded
    without: dict[int, list[Margin]] = {}
    for baseline in baselines:
        for index, margin in worst_without(baseline).items():
            without.setdefault(index, []).append(margin)
    rows = []
    for index, claim in enumerate(loaded.recipe.claims):
        if not is_stated(claim):
            continue
        correct = max(without.get(index, []), key=lambda one: one.badness, default=None)
        line = loaded.document.line(("claims", index))
        rows.append(ClaimRow(line, _subject(claim), bound(claim), correct, _measured(index, tried)))
    return RecipeRows(
        loaded.name,
        loaded.path,
        over=len(tried),
        caught=sum(one.is_caught for one in tried),
        failed=sum(bool(one.failed) for one in tried),
        unmeasured=sum(not one.is_caught and not one.margins for one in tried),
        claims=tuple(rows),
        measured=dict(_known_wrong(loaded.recipe.claims, tried)),
    )


def _known_wrong(
    claims: Sequence[Claim], tried: Sequence[Tried]
) -> Iterator[tuple[tuple[str, str], KnownWrong]]:
    """Yield the range of what each claim measured, by its key and the measure."""
    for index, claim in enumerate(claims):
        mine = [m for one in tried for m in one.margins if m.claim == index and m.value is not None]
        for unit in dict.fromkeys(margin.measure for margin in mine):
            same = [margin for margin in mine if margin.measure == unit]
            values = [margin.value for margin in same if margin.value is not None]
            if found := known_wrong(values, unit, lower=same[0].lower):
                yield (claim_key(claim), unit), found


def _measured(index: int, tried: Sequence[Tried]) -> tuple[Measured, ...]:
    found = []
    for one in tried:
        mine = [margin for margin in one.margins if margin.claim == index]
        others = [margin for margin in one.margins if margin.claim != index]
        elsewhere = bool(one.other) or any(not margin.held for margin in others)
        found += [Measured(one.mutant, margin, elsewhere) for margin in mine]
    return tuple(sorted(found, key=lambda each: (each.margin.badness, each.mutant.key)))


def _subject(claim: Claim) -> str:
    devices = "" if claim.devices is None else f" on {', '.join(claim.devices)}"
    dtypes = "" if claim.dtypes is None else f" in {', '.join(claim.dtypes)}"
    return f"{claim.subject} {claim.pattern}{devices}{dtypes}"


def rows_as_json(port: str, recipes: Sequence[RecipeRows], possible: int) -> dict[str, Any]:
    """Return everything as plain values; ``possible``: the number of mutants before sampling."""
    return {
        "port": port,
        "possible": possible,
        "recipes": [
            {
                "recipe": one.name,
                "file": str(one.path),
                "run_over": one.over,
                "caught": one.caught,
                "failed": one.failed,
                "missed": one.missed,
                "unmeasured": one.unmeasured,
                "claims": [_claim_json(row) for row in one.claims],
            }
            for one in recipes
        ],
    }


def _claim_json(row: ClaimRow) -> dict[str, Any]:
    return {
        "line": row.line,
        "claim": row.subject,
        "bound": row.bound,
        "loose": row.is_loose,
        "correct": None if row.correct is None else _margin_json(row.correct),
        "mutants": [
            one.mutant.names
            | {"caught": not one.margin.held, "caught_elsewhere": one.elsewhere}
            | _margin_json(one.margin)
            for one in row.measured
        ],
    }


def _margin_json(margin: Margin) -> dict[str, Any]:
    """Return value and limit; what is not finite is a text, since JSON has no number for it."""
    numbers = {"value": margin.value, "allowed": margin.allowed}
    finite = {name: number_to_json(number) for name, number in numbers.items()}
    return {**finite, "measure": margin.measure, "where": margin.where}
