"""Verdicts on stored runs: what a verification would find now, without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from porter.report.html_report.stored import StoredRun, stored_runs
from porter.verify.cache.keys import RunKey, verdict_key
from porter.verify.cache.store import Places, find_verdicts
from porter.verify.harness.run_info import RunFacts
from porter.verify.judge import judge
from porter.verify.plan.matrix import RecipePlan, RunSpec, run_specs

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import Failure

NOT_STORED = "no run of it is stored"


@dataclass(frozen=True)
class JudgedRecipe:
    """A recipe, its stored runs, those that are missing, and the verdicts."""

    planned: RecipePlan
    runs: Mapping[RunSpec, StoredRun]
    missing: frozenset[RunSpec]
    verdicts: tuple[Verdict, ...]


def judge_stored(places: Places, planned: RecipePlan) -> JudgedRecipe:
    """Judge the stored runs of a recipe.

    Cached verdicts on exactly these runs are used; only without them torch is imported and the
    tensors are compared again.
    """
    wanted = run_specs(planned)
    runs = stored_runs(places.traces, planned)
    verdicts: Iterable[Verdict] = ()
    if len(runs) == len(wanted):
        known = {
            at: RunKey(RunFacts(**runs[at].head["facts"]), runs[at].folder.name) for at in wanted
        }
        loaded = planned.loaded
        cached = find_verdicts(places, loaded.port, loaded.name, verdict_key(planned, known))
        if cached is not None:
            return JudgedRecipe(planned, runs, frozenset(), cached.verdicts)
    if runs:
        verdicts = _judge_again(planned, runs)
    return JudgedRecipe(planned, runs, frozenset(wanted) - runs.keys(), tuple(verdicts))


def _judge_again(planned: RecipePlan, runs: Mapping[RunSpec, StoredRun]) -> list[Verdict]:
    """Compare the tensors. Claims that need a missing run get no verdict."""
    from porter.verify.harness.trace import BadTrace, read
    from porter.verify.plan.matrix import Failure

    outcomes: dict[RunSpec, Trace | Failure] = {}
    for spec in run_specs(planned):
        outcomes[spec] = Failure("missing", NOT_STORED, "")
        if spec in runs:
            try:
                outcomes[spec] = read(runs[spec].folder)
            except BadTrace:
                continue
    return [v for v in judge(planned, outcomes) if NOT_STORED not in v.detail]
