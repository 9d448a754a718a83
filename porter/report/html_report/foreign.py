"""The column of a foreign tree: its stored runs, judged, beside those of the port's levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from porter.report.html_report.stored import JudgedRecipe, judge_stored
from porter.verify.foreign.plan import told
from porter.verify.judge.result import RecipeResult

if TYPE_CHECKING:
    from porter.verify.cache.store import Places
    from porter.verify.foreign.plan import ForeignPlan
    from porter.verify.foreign.trees import ForeignTrees


@dataclass(frozen=True)
class ForeignColumn:
    """A foreign tree judged by a port's recipes. ``number`` is that of its column, ``tree`` its git
    tree, ``held_to`` the claims that apply, in words; ``without`` are recipes that have none."""

    port: str
    number: int
    name: str
    source: str
    tree: str
    held_to: str
    without: tuple[str, ...]
    unreachable: tuple[str, ...]
    recipes: Mapping[str, JudgedRecipe]


def judge_foreign(places: Places, planned: ForeignPlan, trees: ForeignTrees) -> ForeignColumn:
    """Judge the stored runs on a foreign tree. Nothing is run."""
    level = planned.judged_as
    recipes = {}
    for one in planned.plan.recipes:
        judged = judge_stored(places, one)
        loaded = one.loaded
        result = RecipeResult(loaded.port, loaded.name, "", judged.verdicts, 0, 0.0)
        (said,) = told(iter([result]), trees)
        recipes[loaded.name] = replace(judged, verdicts=said.verdicts)
    return ForeignColumn(
        port=trees.port,
        number=trees.level.number,
        name=trees.level.name,
        source=trees.source,
        tree=str(trees.level.tree),
        held_to=f"the claims on level {level.name}" if level else "what every port must keep",
        without=planned.without,
        unreachable=tuple(
            f"{one.port}/{one.recipe} on {trees.level.name}: {one.reason}"
            for one in planned.plan.unreachable
        ),
        recipes=recipes,
    )


def merged(own: JudgedRecipe, foreign: JudgedRecipe) -> JudgedRecipe:
    """Return a recipe's results on the port's levels and on the foreign tree as one."""
    tree = foreign.planned.levels[-1]
    chosen = own.planned.chosen | foreign.planned.chosen
    both = zip(own.planned.claim_levels, foreign.planned.claim_levels, strict=True)
    planned = replace(
        own.planned,
        levels=(*own.planned.levels, tree),
        chosen=chosen,
        claim_levels=tuple(ours | theirs for ours, theirs in both),
    )
    verdicts = [v for v in foreign.verdicts if v.level == tree.number]
    return JudgedRecipe(
        planned,
        {**foreign.runs, **own.runs},
        own.missing | foreign.missing,
        (*own.verdicts, *verdicts),
    )
