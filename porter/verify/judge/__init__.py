"""Compare the outputs of runs and judge claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.verify.harness.trace import Trace
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec


def judge(planned: RecipePlan, outcomes: Mapping[RunSpec, Trace | Failure]) -> list[Verdict]:
    """Judge the claims of a recipe on the outcomes of its runs.

    A run of :func:`porter.verify.plan.matrix.run_specs` that ``outcomes`` lacks counts as not made.
    Imports torch when called, not when this package is imported.
    """
    from porter.verify.judge.verdicts import judge_outcomes

    return judge_outcomes(planned, outcomes)
