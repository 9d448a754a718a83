"""Verdicts on stored runs: what a verification would say now, without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.report.stored import StoredRun, stored_runs
from porter.verify.planned import Planned
from porter.verify.points import Point, judge

if TYPE_CHECKING:
    from porter.verify.result import Verdict
    from porter.verify.trace import Trace

NOT_STORED = "no run of it is stored"


@dataclass(frozen=True)
class JudgedRecipe:
    """A recipe, its stored runs, and the verdicts on them.

    ``traces`` holds the runs that could be read, ``missing`` the points that have none.
    """

    planned: Planned
    runs: Mapping[Point, StoredRun]
    traces: Mapping[Point, Trace]
    missing: frozenset[Point]
    verdicts: tuple[Verdict, ...]


def judge_stored(traces: Path, planned: Planned) -> JudgedRecipe:
    """Judge what is stored of a recipe's runs. Imports torch."""
    from porter.verify.points import points
    from porter.verify.run import Failure
    from porter.verify.trace import BadTrace, Trace, read

    runs = stored_runs(traces, planned)
    outcomes: dict[Point, Trace | Failure] = {}
    for point in points(planned):
        outcomes[point] = Failure("missing", NOT_STORED, "")
        if point in runs:
            try:
                outcomes[point] = read(runs[point].folder)
            except BadTrace:
                continue
    verdicts = judge(planned, outcomes) if runs else []
    there = {point: one for point, one in outcomes.items() if isinstance(one, Trace)}
    return JudgedRecipe(
        planned=planned,
        runs={point: run for point, run in runs.items() if point in there},
        traces=there,
        missing=frozenset(outcomes.keys() - there.keys()),
        verdicts=tuple(v for v in verdicts if NOT_STORED not in v.detail),
    )
