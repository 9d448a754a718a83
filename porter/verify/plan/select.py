"""What to verify: recipes and levels chosen by filters, and what no source here covers.

Planning reads recipes and builds levels; it starts no probe.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from porter.errors import BadInput, CheckFailed
from porter.levels.level_name import last_level
from porter.places import recipes_dir
from porter.verify.environment.requirements import load_requirements
from porter.verify.environment.torch_layer import PINNED
from porter.verify.plan.matrix import RecipePlan as RecipePlan
from porter.verify.plan.matrix import Target, held_to_itself, judged_points, points
from porter.verify.plan.trees import LAST, LevelTree, NotReachable, Trees, UselessNeed
from porter.verify.recipe.claims import Claim
from porter.verify.recipe.load import LoadedRecipe, find_recipes
from porter.verify.recipe.types import PREVIOUS, LevelRange, LevelSelection, LevelText


@dataclass(frozen=True)
class Filters:
    """What the user asked for; empty means everything. ``threads``: of every run (None: as its
    recipe says)."""

    recipes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Unreachable:
    """A recipe, or a whole port (``recipe`` empty), that cannot run here, and why.

    ``detail`` says it at length. ``fault`` is True when that is no matter of sources that do not
    answer: a series that does not apply, a source that is not what is pinned.
    """

    port: str
    recipe: str
    reason: str
    fault: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """What will run and what cannot."""

    recipes: tuple[RecipePlan, ...]
    unreachable: tuple[Unreachable, ...]


def ports_with_recipes(root: Path) -> list[str]:
    """Return the names of the ports that have recipes, sorted."""
    return sorted({path.parent.name for path in recipes_dir(root, "x").parent.glob("*/*.yaml")})


def make_plan(root: Path, ports: Sequence[str], trees: Trees, filters: Filters) -> Plan:
    """Choose what to run of ``ports`` (none: every port with recipes).

    Raises BadInput for a port without recipes, a filter that matches nothing, and whatever is wrong
    with a recipe.
    """
    known = ports_with_recipes(root)
    if not known:
        raise BadInput(f"{root / 'recipes'}: expected recipes/PORT/*.yaml, found none")
    for port in ports:
        if port not in known:
            raise BadInput(f"{port}: no recipes for it; {_suggestion(port, known)}")
    loaded = [r for port in ports or known for r in find_recipes(recipes_dir(root, port))]
    chosen = [recipe.with_threads(filters.threads) for recipe in _filtered(loaded, filters)]
    for path in {recipe.environment for recipe in chosen} - {None}:
        assert path is not None
        load_requirements(path, PINNED)  # wrong ones are told before anything runs
    planned: list[RecipePlan] = []
    unreachable: list[Unreachable] = []
    unknown_levels: list[BadInput] = []
    for port in dict.fromkeys(recipe.port for recipe in chosen):
        try:
            levels = trees.levels(port)
        except NotReachable as error:
            unreachable.append(Unreachable(port, "", str(error), error.fault, error.detail))
            continue
        except CheckFailed as error:
            unreachable.append(Unreachable(port, "", str(error), fault=True))
            continue
        try:
            asked = _asked(port, levels, trees, filters)
        except BadInput as error:
            unknown_levels.append(error)
            continue
        for recipe in (recipe for recipe in chosen if recipe.port == port):
            try:
                one = plan_recipe(recipe, tuple(levels), asked, trees, filters.devices)
            except NotReachable as error:
                unreachable.append(
                    Unreachable(port, recipe.name, str(error), error.fault, error.detail)
                )
                continue
            except CheckFailed as error:
                unreachable.append(Unreachable(port, recipe.name, str(error), fault=True))
                continue
            if one.chosen and one.devices:
                planned.append(one)
    if not planned and not unreachable:
        if unknown_levels:
            raise unknown_levels[0]
        asked_for = [*(f"--level {n}" for n in filters.levels)]
        asked_for += [f"--device {name}" for name in filters.devices]
        raise BadInput(f"{' '.join(asked_for)}: no chosen recipe runs there")
    return Plan(tuple(planned), tuple(unreachable))


def _filtered(loaded: list[LoadedRecipe], filters: Filters) -> list[LoadedRecipe]:
    """Apply --recipe and --tag; each of them must match something."""
    chosen = loaded
    for option, patterns, names in (
        ("--recipe", filters.recipes, lambda r: (r.name, f"{r.port}/{r.name}")),
        ("--tag", filters.tags, lambda r: r.recipe.tags),
    ):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for r in chosen for name in names(r)):
                there = sorted({name for r in chosen for name in names(r)[:1]})
                raise BadInput(
                    f"{option} {pattern}: matches nothing; {_suggestion(pattern, there)}"
                )
        if patterns:
            chosen = [
                r for r in chosen if any(fnmatchcase(n, p) for p in patterns for n in names(r))
            ]
    return chosen


def _asked(
    port: str, levels: Sequence[LevelTree], trees: Trees, filters: Filters
) -> frozenset[int]:
    if not filters.levels:
        return frozenset(level.number for level in levels)
    return frozenset(trees.find(port, text).number for text in filters.levels)


def plan_recipe(
    loaded: LoadedRecipe,
    levels: tuple[LevelTree, ...],
    asked: frozenset[int],
    trees: Trees,
    devices: Sequence[str] = (),
) -> RecipePlan:
    """Resolve a recipe's levels; ``asked`` and ``devices`` (none: all) narrow what is judged.

    Raises BadInput for a claim that speaks of nothing, NotReachable for a tree no source covers.
    """
    recipe = loaded.recipe
    run = _select(loaded, ("levels",), recipe.levels, levels, trees)
    claim_levels = []
    targets: list[Target] = []
    for index, claim in enumerate(recipe.claims):
        key = ("claims", index)
        mine = run
        if claim.levels != "all":
            mine = _select(loaded, (*key, "levels"), claim.levels, levels, trees) & run
        target = _target(loaded, key, claim, trees)
        if target == PREVIOUS:
            mine -= {0}
        if claim.subject == "throughput":
            mine -= {target}
        if not mine:
            raise loaded.document.error(
                (*key, "levels"), "a level that the recipe runs", "none of them", words=True
            )
        claim_levels.append(mine)
        targets.append(target)
    chosen = run & asked
    there = tuple(name for name in recipe.devices if not devices or name in devices)
    planned = RecipePlan(
        loaded, levels, chosen, tuple(claim_levels), (), tuple(targets), recipe.devices
    )
    if len(levels) > 1 and all(
        held_to_itself(planned, point)
        for point in judged_points(dataclasses.replace(planned, chosen=run))
    ):
        told = "only upstream held to itself, which could not fail"
        raise loaded.document.error(
            ("claims",), "a claim on a level above upstream", told, words=True
        )
    planned = dataclasses.replace(planned, devices=there, insisted=frozenset(devices))
    if chosen and there:
        for number in sorted({0} | {point.level for point in points(planned)}):
            try:
                trees.folder(loaded.port, levels[number], recipe.needs)
            except UselessNeed as useless:
                at = ("needs", recipe.needs.index(useless.entry))
                expected = f"what some level of {loaded.port} has"
                raise loaded.document.error(at, expected, useless.entry) from None
    companions = tuple(
        (name, _companion(name, str(text), trees)) for name, text in recipe.companions.items()
    )
    return dataclasses.replace(planned, companions=companions)


def _target(loaded: LoadedRecipe, key: tuple[str | int, ...], claim: Claim, trees: Trees) -> Target:
    """The level a claim compares with, when it names one."""
    for name in ("against", "less_than", "ratio"):
        other = getattr(claim, name)
        if other is None or other.level is None:
            continue
        if other.level == PREVIOUS:
            return "previous"
        return _find(loaded, (*key, name, "level"), other.level, trees)
    return None


def _companion(name: str, text: str, trees: Trees) -> LevelTree:
    try:
        level = last_level(trees.levels(name)) if text == LAST else trees.find(name, text)
        trees.folder(name, level, ())
    except NotReachable as error:
        told = f"companion {name}: "
        raise NotReachable(f"{told}{error}", told + error.detail, fault=error.fault) from error
    return level


def _select(
    loaded: LoadedRecipe,
    key: tuple[str | int, ...],
    selection: LevelSelection,
    levels: Sequence[LevelTree],
    trees: Trees,
) -> frozenset[int]:
    """Return the numbers of the levels that a recipe's selection means.

    A level that the series has off by default is meant only by its name.
    """
    numbers = [level.number for level in levels if not level.off]
    if selection == "all":
        return frozenset(numbers)
    if isinstance(selection, LevelRange):
        first, last = numbers[0], numbers[-1]
        if selection.first is not None:
            first = _find(loaded, key, selection.first, trees)
        if selection.last is not None:
            last = _find(loaded, key, selection.last, trees)
        return frozenset(number for number in numbers if first <= number <= last)
    return frozenset(_find(loaded, key, text, trees) for text in selection)


def _find(loaded: LoadedRecipe, key: tuple[str | int, ...], text: LevelText, trees: Trees) -> int:
    try:
        return trees.find(loaded.port, str(text)).number
    except BadInput as error:
        expected = f"a level of {loaded.port}"
        raise loaded.document.error(key, expected, str(error), words=True) from None


def _suggestion(name: str, names: Iterable[str]) -> str:
    there = list(names)
    if near := difflib.get_close_matches(name, there, n=1):
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(there)}" if there else "there are none"
