"""Run a port's recipes in both states of a :class:`~porter.verify.pins.plan.PinPlan` and compare.

The runs are those that `porter verify` makes in each state, so those that it has made before are
in the cache. Both states of a recipe run in parallel, on equal terms: same probe, parameters,
environment, device, dtype and seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from porter.verify.cache.keys import known_runs
from porter.verify.environment.venv import EnvironmentFailed
from porter.verify.execution.scheduler import CachedRun, Runs, open_runs
from porter.verify.execution.session import Session
from porter.verify.pins.plan import PinPlan, RecipePair
from porter.verify.pins.result import Change, RecipeChanges, Word
from porter.verify.plan.matrix import (
    Failure,
    RecipePlan,
    RunSpec,
    baseline_spec,
    claims_on,
    judged_specs,
    noise_spec,
    reference_spec,
    target_spec,
)
from porter.verify.recipe.claims import Claim
from porter.verify.recipe.schema import is_simulated

if TYPE_CHECKING:
    import torch

    from porter.verify.harness.trace import Trace
    from porter.verify.judge.noise import Noise
    from porter.verify.pins.change import Recorded

Rows = Mapping[RunSpec, Sequence[Claim]]
"""The runs to compare, each with its claims on outputs."""
Outcomes = Mapping[RunSpec, "Trace | Failure"]
_NOT_RUN = Failure("missing", "was not run, because its reference failed", "")
_LENT = ("parity", "loss_curve", "equal")
"""Claims that level 0 itself always fulfils."""


def compare_states(
    plan: PinPlan, session: Session, names: tuple[str, str]
) -> Iterator[RecipeChanges]:
    """Compare every planned recipe; ``names`` are those of the old and the new state."""
    with open_runs(session) as runs:
        for pair in plan.pairs:
            yield _compare(pair, runs, names)


def _compare(pair: RecipePair, runs: Runs, names: tuple[str, str]) -> RecipeChanges:
    began = time.monotonic()
    loaded, rows = pair.new.loaded, rows_of(pair)
    found: tuple[Outcomes, Outcomes] = ({}, {})
    made: list[CachedRun] = []
    try:
        if rows:
            found, made = _run(pair, rows, runs, names)
        comparison = _Comparison(pair, found, names)
        changes = [change for spec in rows for change in comparison.changes(spec, rows[spec])]
    except EnvironmentFailed as error:
        changes = [_change(pair.new, RunSpec(0, "", "", 0), "", None, "error", str(error))]
    return RecipeChanges(
        port=loaded.port,
        recipe=loaded.name,
        title=loaded.recipe.title,
        changes=tuple(changes),
        runs=len(made),
        cached=sum(one.cached for one in made),
        seconds=time.monotonic() - began,
    )


def rows_of(pair: RecipePair) -> Rows:
    """Return the runs to compare: those that verify judges, of levels that both states have.

    Level 0's runs in the same dtypes are among them, by the claims of the levels above it, also
    where the recipe does not judge level 0: they show what upstream itself changed.
    """
    planned = pair.new
    rows: dict[RunSpec, list[Claim]] = {}
    lent: dict[RunSpec, list[Claim]] = {}
    for spec in judged_specs(planned):
        claims = [claim for claim in claims_on(planned, spec) if claim.subject == "outputs"]
        if claims and spec.level in pair.shared:
            rows[spec] = claims
        if any(claim.needs_reference for claim in claims):
            mine = lent.setdefault(baseline_spec(planned, spec), [])
            fit = (c for c in claims if c.kind_name in _LENT and c.against is None)
            mine += [claim for claim in fit if claim not in mine]
    upstream = {spec: claims for spec, claims in lent.items() if spec not in rows}
    return {**upstream, **rows}


def specs_of(pair: RecipePair, rows: Rows) -> tuple[RunSpec, ...]:
    """Return the runs that the rows need in each state, references first."""
    needed = [_needed(pair, spec, claims) for spec, claims in rows.items()]
    references = [spec for specs in needed for spec in specs if spec.level == 0 and not spec.shaken]
    return tuple(dict.fromkeys((*references, *chain.from_iterable(needed), *rows)))


def _needed(pair: RecipePair, spec: RunSpec, claims: Sequence[Claim]) -> list[RunSpec]:
    """Return the runs that a row's claims compare it with, of levels that both states have."""
    planned = pair.new
    found = []
    for claim in claims:
        if claim.needs_reference:
            found += [reference_spec(planned, spec), baseline_spec(planned, spec)]
        if claim.against:
            found.append(target_spec(planned, claim, spec))
        if noisy := noise_spec(planned, claim, spec, claims):
            found.append(replace(noisy, shaken=True))
    return [each for each in dict.fromkeys(found) if each.level in pair.shared]


def _run(
    pair: RecipePair, rows: Rows, runs: Runs, names: tuple[str, str]
) -> tuple[tuple[Outcomes, Outcomes], list[CachedRun]]:
    """Make the runs of both states; return their outcomes. Raises EnvironmentFailed."""
    session, specs = runs.session, specs_of(pair, rows)
    environment = session.environment(pair.new.loaded.environment, runs.start.warm)
    plans = (pair.old, pair.new)
    known = [known_runs(planned, specs, environment) for planned in plans]
    session.observer.expect(pair.new.name, sum(map(len, known)))
    requests = [
        runs.requests(planned, each, environment, name)
        for planned, each, name in zip(plans, known, names, strict=True)
    ]
    for _ in runs.settle(chain.from_iterable(requests)):
        pass
    keys = {one.key for each in known for one in each.values()}
    loaded = {key: runs.load(key) for key in keys}
    old, new = ({spec: loaded[one.key] or _NOT_RUN for spec, one in each.items()} for each in known)
    return (old, new), [one for key in keys if isinstance(one := runs.found.get(key), CachedRun)]


@dataclass
class _Comparison:
    """The outcomes of a recipe's runs in the old and in the new state."""

    pair: RecipePair
    outcomes: tuple[Outcomes, Outcomes]
    names: tuple[str, str]
    _told: set[tuple[int, RunSpec]] = field(default_factory=set)

    def changes(self, spec: RunSpec, claims: Sequence[Claim]) -> Iterator[Change]:
        """Compare the outputs of one run, unless it failed in one of the states."""
        needed = dict.fromkeys((spec, *_needed(self.pair, spec, claims)))
        failed = [(side, one) for one in needed for side in (0, 1) if self._failure(side, one)]
        if failed:
            yield from self._failures(failed)
            return
        from porter.verify.pins.change import judge_change

        rates = [c for c in self.pair.new.loaded.recipe.claims if c.subject == "throughput"]
        outputs = [self._outputs(side, spec) for side in (0, 1)]
        for name in dict.fromkeys(chain(*outputs)):
            mine: list[Claim | None] = [claim for claim in claims if claim.names(name)]
            if not mine and any(claim.names(name) for claim in rates):
                continue
            for claim in mine or [None]:
                old, new = (self._recorded(side, spec, name, claim, claims) for side in (0, 1))
                found = judge_change(claim, old, new)
                change = _change(self.pair.new, spec, name, claim, found.word, found.detail)
                yield replace(
                    change,
                    difference=found.difference,
                    upstream=found.upstream,
                    apart=found.apart,
                    allowed=found.allowed,
                    measure=found.measure,
                )

    def _failures(self, failed: Sequence[tuple[int, RunSpec]]) -> Iterator[Change]:
        """Yield each failed run once."""
        for side, spec in failed:
            failure = self._failure(side, spec)
            if failure is None or (side, spec) in self._told:
                continue
            self._told.add((side, spec))
            absent = failure.kind == "device" and spec.device not in self.pair.new.insisted
            word: Word = "skipped" if absent and not is_simulated(spec.device) else "error"
            shaken = "shaken run: " if spec.shaken else ""
            detail = f"{self.names[side]}: {shaken}{failure.reason}"
            change = _change(self.pair.new, spec, "", None, word, detail)
            yield replace(change, stderr=failure.stderr if word == "error" else "")

    def _failure(self, side: int, spec: RunSpec) -> Failure | None:
        outcome = self.outcomes[side].get(spec)
        return outcome if isinstance(outcome, Failure) else None

    def _outputs(self, side: int, spec: RunSpec | None) -> Mapping[str, torch.Tensor]:
        outcome = self.outcomes[side].get(spec) if spec else None
        return {} if outcome is None or isinstance(outcome, Failure) else outcome.outputs

    def _recorded(
        self, side: int, spec: RunSpec, name: str, claim: Claim | None, claims: Sequence[Claim]
    ) -> Recorded:
        """Return an output in one state, with those that its claim needs."""
        from porter.verify.pins.change import Recorded

        planned = self.pair.new

        def output(of: RunSpec | None) -> torch.Tensor | None:
            return self._outputs(side, of).get(name)

        baseline = baseline_spec(planned, spec)
        upstream = claim is not None and claim.needs_reference
        own = output(baseline) if upstream or spec == baseline else None
        if claim is None:
            return Recorded(output(spec), own)
        return Recorded(
            output(spec),
            own,
            reference=output(reference_spec(planned, spec)) if upstream else None,
            target=output(target_spec(planned, claim, spec)) if claim.against else None,
            noise=self._noise(side, name, noise_spec(planned, claim, spec, claims)),
        )

    def _noise(self, side: int, name: str, spec: RunSpec | None) -> Noise | None:
        from porter.verify.judge.noise import noise_between

        if spec is None:
            return None
        shaken = self._outputs(side, replace(spec, shaken=True)).get(name)
        return noise_between(self._outputs(side, spec).get(name), shaken)


def _change(
    planned: RecipePlan, spec: RunSpec, output: str, claim: Claim | None, word: Word, detail: str
) -> Change:
    return Change(
        level=spec.level,
        level_name=planned.levels[spec.level].name,
        device=spec.device,
        dtype=spec.dtype,
        seed=spec.seed,
        variant=spec.variant,
        output=output,
        claim=claim.kind_name if claim else "",
        word=word,
        detail=detail,
    )
