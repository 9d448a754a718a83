"""Verdicts on runs that were never made: a recipe, and what each of its runs is said to give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.trace import Trace
from porter.verify.judge import judge
from porter.verify.judge.result import Verdict
from porter.verify.plan.matrix import Failure, RecipePlan, RunSpec, run_specs
from porter.verify.plan.select import Filters, make_plan
from tests.verify.folder_trees import FolderTrees, write_recipe

Given = Mapping[str, Any] | Failure
"""What a run gives: a failure, or outputs (tensors) and counters (numbers) by name."""

FACTS = RunFacts("port", "one", "", "", "", 0, "", "", {}, "", "", 0, 1, "", "")


def planned(tmp_path: Path, recipe: str, levels: int = 3, **filters: str) -> RecipePlan:
    """Plan a recipe on a port whose levels are upstream, one, two, ..."""
    trees = FolderTrees(tmp_path / "trees")
    names = ("upstream", "one", "two", "three", "four", "five", "six", "seven")
    trees.add("port", **{name: f"# {name}" for name in names[:levels]})
    write_recipe(tmp_path, "port", "one", recipe, "")
    chosen = Filters(**{name: (value,) for name, value in filters.items()})
    return make_plan(tmp_path, ["port"], trees, chosen).recipes[0]


def trace_of(given: Mapping[str, Any]) -> Trace:
    outputs = {name: v for name, v in given.items() if isinstance(v, torch.Tensor)}
    counters = {name: v for name, v in given.items() if name not in outputs}
    return Trace(FACTS, {}, counters, 0.0, 0, outputs)


def judged(
    tmp_path: Path, recipe: str, gives: Callable[[RunSpec], Given], levels: int = 3, **filters: str
) -> list[Verdict]:
    """Judge a recipe whose run at each point gives what ``gives`` says."""
    plan = planned(tmp_path, recipe, levels, **filters)
    outcomes: dict[RunSpec, Trace | Failure] = {}
    for spec in run_specs(plan):
        given = gives(spec)
        outcomes[spec] = given if isinstance(given, Failure) else trace_of(given)
    return judge(plan, outcomes)


def summaries(verdicts: list[Verdict]) -> list[tuple[int, str, str]]:
    """Return level, word and detail of each verdict."""
    return [(v.level, v.word, v.detail) for v in verdicts]
