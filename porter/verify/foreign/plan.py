"""Plan a port's recipes on a foreign tree: which of their claims it is held to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from porter.errors import BadInput, CheckFailed
from porter.levels.level_name import find_level
from porter.series.series import load_series
from porter.verify.foreign.trees import ForeignTrees
from porter.verify.judge.result import RecipeResult, Verdict
from porter.verify.plan.matrix import RecipePlan, Target, judged_specs, run_specs
from porter.verify.plan.select import Filters, Plan, Unreachable, make_folders, make_plan
from porter.verify.plan.trees import LevelTree, NamedLevel, NotReachable
from porter.verify.recipe.schema import UPSTREAM

_MODULE = re.compile(r"No module named '([\w.]+)'")


@dataclass(frozen=True)
class ForeignPlan:
    """What to run on a foreign tree. ``judged_as`` is the level whose claims apply (None: the
    contract); ``without`` are the chosen recipes that have no such claim."""

    plan: Plan
    judged_as: NamedLevel | None
    without: tuple[str, ...]


class _Names:
    """:class:`porter.verify.plan.trees.Trees` to plan with: the port's levels by name alone."""

    def __init__(self, trees: ForeignTrees) -> None:
        self._trees = trees

    def levels(self, port: str) -> tuple[LevelTree, ...]:
        own = port == self._trees.port
        return self._trees.names if own else self._trees.levels(port)

    def find(self, port: str, text: str) -> LevelTree:
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        own = port == self._trees.port
        return Path() if own else self._trees.folder(port, level, needs)

    def mend(self, folder: Path) -> str:
        return self._trees.mend(folder)


def plan_foreign(
    root: Path, trees: ForeignTrees, filters: Filters, judged_as: str | None
) -> ForeignPlan:
    """Plan the recipes of the trees' port on the foreign tree.

    Raises BadInput for what :func:`porter.verify.plan.select.make_plan` refuses, for a level that
    does not exist, and where no claim is left.
    """
    port, names = trees.port, _Names(trees)
    plan = make_plan(root, [port], names, filters)
    level = None
    if judged_as is not None:
        try:
            level = find_level(trees.names, judged_as)
        except BadInput as error:
            raise BadInput(f"--as {judged_as}: {error}") from None
    planned: list[RecipePlan] = []
    without: list[str] = []
    unreachable = list(plan.unreachable)
    for one in plan.recipes:
        try:
            held = _held(one, trees, level)
        except (NotReachable, CheckFailed) as error:
            unreachable.append(_unreachable(port, one.loaded.name, error))
            continue
        if held is None:
            without.append(one.loaded.name)
        else:
            planned.append(held)
    if not planned and not unreachable:
        what = f"on level {level.name}" if level else "that is contract"
        more = "" if level else "; `--as LEVEL` applies a level's own claims"
        raise BadInput(f"{port}: no selected recipe has a claim {what}{more}")
    return ForeignPlan(Plan(tuple(planned), tuple(unreachable)), level, tuple(without))


def _unreachable(port: str, recipe: str, error: NotReachable | CheckFailed) -> Unreachable:
    if isinstance(error, NotReachable):
        return Unreachable(port, recipe, str(error), error.fault, error.detail)
    return Unreachable(port, recipe, str(error), fault=True)


def _held(planned: RecipePlan, trees: ForeignTrees, level: NamedLevel | None) -> RecipePlan | None:
    """Return a recipe's plan for the foreign tree alone; None without a claim on it.

    Raises NotReachable, CheckFailed, and BadInput.
    """
    number = trees.level.number
    levels: list[frozenset[int]] = []
    targets: list[Target] = []
    for claim, claimed in zip(planned.loaded.recipe.claims, planned.claim_levels, strict=True):
        applies = claim.contract if level is None else level.number in claimed
        levels.append(frozenset({number} if applies else ()))
        targets.append(_target(planned.claim_targets[planned.index(claim)], level))
    if not any(levels):
        return None
    held = replace(
        planned,
        levels=(*planned.levels, trees.level),
        chosen=frozenset({number}),
        claim_levels=tuple(levels),
        claim_targets=tuple(targets),
        in_part=level is None,
    )
    if not judged_specs(held):
        return None
    used = {spec.level for spec in run_specs(held)} | {0}
    if used - {0, number}:  # a claim compares with one of the port's own levels: their ids count
        held = replace(held, levels=(*trees.own.levels(trees.port), trees.level))
    return replace(held, files=make_folders(held.loaded, held.levels, used, trees))


def _target(target: Target, level: NamedLevel | None) -> Target:
    """Return the level that a claim compares the foreign tree with: what is ``level``, or the one
    before it, for that level; for a tree that is none of the port's, upstream is the one before."""
    if target == "previous":
        return 0 if level is None else level.number - 1
    return None if level is not None and target == level.number else target


def told(results: Iterator[RecipeResult], trees: ForeignTrees) -> Iterator[RecipeResult]:
    """Yield results that say what they mean for a foreign tree: which files only the port's
    patches add, and the commands that go on from here."""
    is_series = len(trees.names) > 1
    added = load_series(trees.own.root, trees.port).added_files() if is_series else {}
    for result in results:
        verdicts = tuple(_told(verdict, trees, added) for verdict in result.verdicts)
        yield replace(result, verdicts=verdicts)


def _told(verdict: Verdict, trees: ForeignTrees, added: Mapping[bytes, str]) -> Verdict:
    if verdict.level != trees.level.number:
        return verdict
    narrow = ""
    before = f"porter compare {trees.port} {UPSTREAM} "
    if verdict.narrow.startswith(before):
        rest = verdict.narrow.removeprefix(f"{before}{verdict.level_name}")
        narrow = f"{before}{shlex.quote(trees.source)}{rest}"
    return replace(verdict, narrow=narrow, detail=_with_missing(verdict.detail, trees, added))


def _with_missing(detail: str, trees: ForeignTrees, added: Mapping[bytes, str]) -> str:
    """Say of a module that was not found that it is one that only a patch of the port adds."""
    match = _MODULE.search(detail)
    if match is None:
        return detail
    name = match[1].replace(".", "/").encode()
    for path, level in added.items():
        ends = (b"/" + path).endswith((b"/" + name + b".py", b"/" + name + b"/__init__.py"))
        if ends and not trees.holds(path):
            file = path.decode(errors="replace")
            return f"{detail}: the tree has no {file}, which level {level} of the port adds"
    return detail
