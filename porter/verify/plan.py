"""What to verify: recipes and levels chosen by filters, and what no source here covers.

Planning reads recipes and builds levels; it starts no probe.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from porter.errors import BadInput, CheckFailed
from porter.places import recipes_dir
from porter.verify.layer import PINNED
from porter.verify.recipe import (
    Claim,
    LevelRange,
    LevelSelection,
    LoadedRecipe,
    find_recipes,
    wrong,
)
from porter.verify.requirements import load_requirements
from porter.verify.trees import LAST, LevelTree, NotReachable, Trees


@dataclass(frozen=True)
class Filters:
    """What the user asked for; empty means everything."""

    recipes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """One recipe to run: every level of its port, those to judge, and where each claim applies."""

    loaded: LoadedRecipe
    levels: tuple[LevelTree, ...]
    chosen: frozenset[int]
    claim_levels: tuple[frozenset[int], ...]
    companions: tuple[tuple[str, LevelTree], ...]

    def applies(self, claim: Claim, level: int) -> bool:
        """Whether the claim speaks of the level."""
        return level in self.claim_levels[self.loaded.recipe.claims.index(claim)]


@dataclass(frozen=True)
class Unreachable:
    """A recipe, or a whole port (``recipe`` empty), that cannot run here, and why.

    ``fault`` is True when that is no matter of sources: a series that does not apply.
    """

    port: str
    recipe: str
    reason: str
    fault: bool = False


@dataclass(frozen=True)
class Plan:
    """What will run and what cannot."""

    recipes: tuple[Planned, ...]
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
    chosen = _filtered(loaded, filters)
    for path in {recipe.environment for recipe in chosen} - {None}:
        assert path is not None
        load_requirements(path, PINNED)  # wrong ones are told before anything runs
    planned: list[Planned] = []
    unreachable: list[Unreachable] = []
    unknown_levels: list[BadInput] = []
    for port in dict.fromkeys(recipe.port for recipe in chosen):
        try:
            levels = trees.levels(port)
        except NotReachable as error:
            unreachable.append(Unreachable(port, "", str(error)))
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
                one = _plan_recipe(recipe, tuple(levels), asked, trees)
            except NotReachable as error:
                unreachable.append(Unreachable(port, recipe.name, str(error)))
                continue
            except CheckFailed as error:
                unreachable.append(Unreachable(port, recipe.name, str(error), fault=True))
                continue
            if one.chosen:
                planned.append(one)
    if not planned and not unreachable:
        if unknown_levels:
            raise unknown_levels[0]
        raise BadInput(f"--level {', '.join(filters.levels)}: no chosen recipe runs there")
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


def _plan_recipe(
    loaded: LoadedRecipe, levels: tuple[LevelTree, ...], asked: frozenset[int], trees: Trees
) -> Planned:
    recipe = loaded.recipe
    run = _select(loaded, ("levels",), recipe.levels, levels, trees)
    claim_levels = []
    for index, claim in enumerate(recipe.claims):
        key = ("claims", index, "levels")
        mine = _select(loaded, key, claim.levels, levels, trees) & run
        if not mine:
            raise wrong(loaded.document, key, "a level that the recipe runs", "none of them")
        claim_levels.append(mine)
    if len(levels) > 1 and all(
        mine == {0} and claim.given[0] in ("parity", "equal")
        for mine, claim in zip(claim_levels, recipe.claims, strict=True)
    ):
        told = "only upstream held to itself, which could not fail"
        raise wrong(loaded.document, ("claims",), "a claim on a level above upstream", told)
    chosen = run & asked
    if chosen:
        for level in levels:
            if level.number == 0 or level.number in chosen:
                trees.folder(loaded.port, level, recipe.needs)
    companions = tuple(
        (name, _companion(name, str(text), trees)) for name, text in recipe.companions.items()
    )
    return Planned(loaded, levels, chosen, tuple(claim_levels), companions)


def _companion(name: str, text: str, trees: Trees) -> LevelTree:
    try:
        level = trees.levels(name)[-1] if text == LAST else trees.find(name, text)
        trees.folder(name, level, ())
    except NotReachable as error:
        raise NotReachable(f"companion {name}: {error}") from error
    return level


def _select(
    loaded: LoadedRecipe,
    key: tuple[str | int, ...],
    selection: LevelSelection,
    levels: Sequence[LevelTree],
    trees: Trees,
) -> frozenset[int]:
    """Return the numbers of the levels that a recipe's selection means."""

    def find(text: str | int) -> int:
        try:
            return trees.find(loaded.port, str(text)).number
        except BadInput as error:
            raise wrong(loaded.document, key, f"a level of {loaded.port}", str(error)) from None

    numbers = [level.number for level in levels]
    if selection == "all":
        return frozenset(numbers)
    if isinstance(selection, LevelRange):
        first = find(selection.first) if selection.first is not None else numbers[0]
        last = find(selection.last) if selection.last is not None else numbers[-1]
        return frozenset(number for number in numbers if first <= number <= last)
    return frozenset(find(text) for text in selection)


def _suggestion(name: str, names: Iterable[str]) -> str:
    there = list(names)
    if near := difflib.get_close_matches(name, there, n=1):
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(there)}" if there else "there are none"
