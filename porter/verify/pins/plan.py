"""Plan the runs of a port's recipes in two states of it.

The recipes and their environments are those of the new state. Both plans of a recipe number the
levels as the new state does; the old state's levels stand at the places of those of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porter.errors import BadInput, CheckFailed
from porter.verify.pins.states import State
from porter.verify.plan.matrix import RecipePlan
from porter.verify.plan.select import Filters, Unreachable, companion_level, make_plan
from porter.verify.plan.trees import LevelTree, NotReachable, Trees, UselessNeed


@dataclass(frozen=True)
class StateLevel:
    """A level of one of the states, and the trees that hold it."""

    own: LevelTree
    trees: Trees

    @property
    def number(self) -> int:
        return self.own.number

    @property
    def name(self) -> str:
        return self.own.name

    @property
    def tree(self) -> str:
        return self.own.tree

    @property
    def off(self) -> bool:
        return self.own.off


class BothTrees:
    """:class:`Trees` of two states: a :class:`StateLevel` says which one holds it."""

    def __init__(self, new: Trees, *others: Trees) -> None:
        self._new = new
        self._all = new, *others

    def levels(self, port: str) -> Sequence[LevelTree]:
        return self._new.levels(port)

    def find(self, port: str, text: str) -> LevelTree:
        return self._new.find(port, text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        assert isinstance(level, StateLevel)
        return level.trees.folder(port, level.own, needs)

    def mend(self, folder: Path) -> str:
        """See :class:`porter.verify.plan.trees.Trees`: the state that gave the folder mends it."""
        return next(filter(None, (trees.mend(folder) for trees in self._all)), "")


@dataclass(frozen=True)
class RecipePair:
    """A recipe's plan in both states; ``shared`` are the levels that both have, by number."""

    old: RecipePlan
    new: RecipePlan
    shared: frozenset[int]


@dataclass(frozen=True)
class PinPlan:
    """What can be compared, what cannot, and the levels of one state alone, by name."""

    port: str
    pairs: tuple[RecipePair, ...] = ()
    unreachable: tuple[Unreachable, ...] = ()
    shared: tuple[str, ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()


def plan_pins(port: str, old: State, new: State, filters: Filters) -> PinPlan:
    """Plan the comparison of a port's two states.

    Raises BadInput for what :func:`porter.verify.plan.select.make_plan` refuses, and for a port
    that the old state lacks.
    """
    plan = make_plan(new.root, [port], new.trees, filters)
    beyond = [_at(new, one) for one in plan.unreachable]
    try:
        old_levels = {level.name: level for level in old.trees.levels(port)}
    except (NotReachable, CheckFailed) as error:
        return PinPlan(port, unreachable=(*beyond, _unreachable(old, port, "", error)))
    pairs: list[RecipePair] = []
    for planned in plan.recipes:
        try:
            pairs.append(_pair(planned, old_levels, old, new))
        except (NotReachable, BadInput) as error:
            beyond.append(_unreachable(old, port, planned.loaded.name, error))
    if not plan.recipes:
        return PinPlan(port, unreachable=tuple(beyond))
    names = [level.name for level in plan.recipes[0].levels]
    return PinPlan(
        port,
        tuple(pairs),
        tuple(beyond),
        shared=tuple(name for name in names if name in old_levels),
        only_old=tuple(name for name in old_levels if name not in names),
        only_new=tuple(name for name in names if name not in old_levels),
    )


def _pair(
    planned: RecipePlan, old_levels: Mapping[str, LevelTree], old: State, new: State
) -> RecipePair:
    """Plan a recipe in both states. Raises NotReachable and BadInput for the old one."""
    loaded, levels = planned.loaded, planned.levels
    shared = frozenset(level.number for level in levels if level.name in old_levels)
    for number in sorted(shared & (planned.chosen | {0})):
        try:
            old.trees.folder(loaded.port, old_levels[levels[number].name], loaded.recipe.needs)
        except UselessNeed as useless:
            raise NotReachable(f"the recipe needs {useless}, which no level there has") from None
    companions = [
        (name, companion_level(name, str(text), old.trees))
        for name, text in loaded.recipe.companions.items()
    ]
    return RecipePair(
        _placed(planned, [old_levels.get(each.name, each) for each in levels], companions, old),
        _placed(planned, levels, planned.companions, new),
        shared,
    )


def _placed(
    planned: RecipePlan,
    levels: Sequence[LevelTree],
    companions: Sequence[tuple[str, LevelTree]],
    state: State,
) -> RecipePlan:
    return replace(
        planned,
        levels=tuple(StateLevel(level, state.trees) for level in levels),
        companions=tuple((name, StateLevel(level, state.trees)) for name, level in companions),
    )


def _at(state: State, one: Unreachable) -> Unreachable:
    return replace(one, reason=f"{state.name}: {one.reason}")


def _unreachable(
    state: State, port: str, recipe: str, error: NotReachable | CheckFailed | BadInput
) -> Unreachable:
    text = f"{state.name}: {error}"
    if isinstance(error, NotReachable):
        return Unreachable(port, recipe, text, error.fault, error.detail)
    return Unreachable(port, recipe, text, fault=True)
