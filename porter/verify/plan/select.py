"""Select the recipes and levels to verify, and report those that no source covers.

Planning reads recipes and builds levels; it starts no probe.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from porter.errors import BadInput, CheckFailed
from porter.places import recipes_dir
from porter.verify.environment.requirements import load_requirements
from porter.verify.environment.torch_layer import PINNED
from porter.verify.plan.matrix import RecipePlan as RecipePlan
from porter.verify.plan.matrix import Target, held_only_to_itself, run_specs
from porter.verify.plan.trees import LAST, LevelTree, NotReachable, Trees, UselessNeed
from porter.verify.recipe.claims import (
    PREVIOUS,
    Claim,
    DeviceName,
    LevelRange,
    LevelSelection,
    LevelText,
)
from porter.verify.recipe.contract import with_contract
from porter.verify.recipe.load import LoadedRecipe, find_recipes
from porter.verify.recipe.schema import is_accelerator, twin_of


@dataclass(frozen=True)
class Filters:
    """The user's selection; empty means everything. ``threads`` is for every run (None: as its
    recipe says)."""

    recipes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True)
class Unreachable:
    """A recipe, or a whole port (``recipe`` empty), that cannot run here.

    ``reason`` is short, ``detail`` is full. ``fault`` is True if the cause is not a source that
    does not answer: a series that does not apply, a source that is not what is pinned.
    """

    port: str
    recipe: str
    reason: str
    fault: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """The recipes that will run, and those that cannot."""

    recipes: tuple[RecipePlan, ...]
    unreachable: tuple[Unreachable, ...]


def ports_with_recipes(root: Path) -> list[str]:
    """Return the names of the ports that have recipes, sorted."""
    return sorted({path.parent.name for path in recipes_dir(root, "x").parent.glob("*/*.yaml")})


def has_recipes(root: Path, port: str) -> bool:
    """Return whether a port of this name has recipes."""
    return Path(port).name == port and any(recipes_dir(root, port).glob("*.yaml"))


def make_plan(root: Path, ports: Sequence[str], trees: Trees, filters: Filters) -> Plan:
    """Select the recipes to run of ``ports`` (empty: every port with recipes).

    Raises BadInput for a port without recipes, a filter that matches nothing, an invalid recipe.
    """
    for name in filters.devices:
        if name not in get_args(DeviceName):
            raise BadInput(
                f"--device {name}: no such device; {_suggestion(name, get_args(DeviceName))}"
            )
    # Whoever plans port by port would otherwise look into every port's folder each time.
    known = list(ports) if ports and all(has_recipes(root, port) for port in ports) else None
    if known is None:
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
        load_requirements(path, PINNED)  # reports an invalid file before anything runs
    planned: list[RecipePlan] = []
    unreachable: list[Unreachable] = []
    unknown_levels: list[BadInput] = []
    of_port: dict[str, list[LoadedRecipe]] = {}
    for recipe in chosen:
        of_port.setdefault(recipe.port, []).append(recipe)
    for port, recipes in of_port.items():
        try:
            levels = trees.levels(port)
        except (NotReachable, CheckFailed) as error:
            unreachable.append(_unreachable(port, "", error))
            continue
        try:
            wanted = frozenset(trees.find(port, text).number for text in filters.levels)
        except BadInput as error:
            unknown_levels.append(error)
            continue
        for recipe in recipes:
            try:
                one = plan_recipe(recipe, tuple(levels), wanted or None, trees, filters.devices)
            except (NotReachable, CheckFailed) as error:
                unreachable.append(_unreachable(port, recipe.name, error))
                continue
            if one.chosen and one.devices:
                planned.append(one)
    if not planned and not unreachable:
        if unknown_levels:
            raise unknown_levels[0]
        options = [*(f"--level {n}" for n in filters.levels)]
        options += [f"--device {name}" for name in filters.devices]
        used = sorted({device for recipe in chosen for device in recipe.recipe.devices})
        raise BadInput(
            f"{' '.join(options)}: no selected recipe runs there; they run on {', '.join(used)}"
        )
    return Plan(tuple(planned), tuple(unreachable))


def _unreachable(port: str, recipe: str, error: NotReachable | CheckFailed) -> Unreachable:
    if isinstance(error, NotReachable):
        return Unreachable(port, recipe, str(error), error.fault, error.detail)
    return Unreachable(port, recipe, str(error), fault=True)


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


def plan_recipe(
    loaded: LoadedRecipe,
    levels: tuple[LevelTree, ...],
    wanted: frozenset[int] | None,
    trees: Trees,
    devices: Sequence[str] = (),
) -> RecipePlan:
    """Resolve a recipe's levels; only the ``wanted`` ones (None: all) and ``devices`` (empty: all)
    are judged.

    Raises BadInput for a claim that applies to no run, NotReachable for a tree no source covers.
    """
    recipe = loaded.recipe
    run = _select(loaded, ("levels",), recipe.levels, levels, trees)
    claim_levels = []
    targets: list[Target] = []
    for index, claim in enumerate(recipe.claims):
        key = ("claims", index)
        claimed = run
        if claim.levels != "all":
            claimed = _select(loaded, (*key, "levels"), claim.levels, levels, trees) & run
        target = _target(loaded, key, claim, trees)
        if target == PREVIOUS:
            claimed -= {0}
        if claim.subject == "throughput":
            claimed -= {target}
        if not claimed:
            raise loaded.document.error(
                (*key, "levels"), "a level that the recipe runs", "none of them", words=True
            )
        claim_levels.append(claimed)
        targets.append(target)
    on = run & {level.number for level in levels if not level.off}
    loaded = with_contract(loaded, claim_levels, targets, max(on or run))
    chosen = run if wanted is None else run & wanted
    selected = tuple(name for name in recipe.devices if not devices or name in devices)
    selected += tuple(
        name
        for name in get_args(DeviceName)
        if name in devices
        and is_accelerator(name)
        and name not in recipe.devices
        and twin_of(name) in recipe.devices
    )
    planned = RecipePlan(
        loaded, levels, chosen, tuple(claim_levels), (), tuple(targets), recipe.devices
    )
    if len(levels) > 1 and held_only_to_itself(dataclasses.replace(planned, chosen=run)):
        vacuous = "only upstream held to itself, which could not fail"
        raise loaded.document.error(
            ("claims",), "a claim on a level above upstream", vacuous, words=True
        )
    planned = dataclasses.replace(planned, devices=selected, insisted=frozenset(devices))
    if chosen and selected:
        numbers = {0} | {spec.level for spec in run_specs(planned)}
        planned = dataclasses.replace(planned, files=make_folders(loaded, levels, numbers, trees))
    companions = tuple(
        (name, companion_level(name, str(text), trees)) for name, text in recipe.companions.items()
    )
    return dataclasses.replace(planned, companions=companions)


def make_folders(
    loaded: LoadedRecipe, levels: Sequence[LevelTree], numbers: Iterable[int], trees: Trees
) -> dict[int, str]:
    """Make the folders of some levels for a recipe; return what their names say about the files in
    them, by level.

    Raises NotReachable for a tree no source covers, and BadInput for an entry of ``needs`` that
    matches nothing.
    """
    return {number: _folder(loaded, levels[number], trees) for number in sorted(set(numbers))}


def _folder(loaded: LoadedRecipe, level: LevelTree, trees: Trees) -> str:
    """Make the folder of a level; return what its name says about the files in it.

    Raises NotReachable, and BadInput for an entry of ``needs`` that matches nothing.
    """
    needs = loaded.recipe.needs
    try:
        folder = trees.folder(loaded.port, level, needs)
    except UselessNeed as useless:
        expected = f"a file, folder or pattern that some level of {loaded.port} has"
        found = f"{str(useless)!r}, which matches nothing; correct or remove it"
        at = ("needs", needs.index(str(useless)))
        raise loaded.document.error(at, expected, found, words=True) from None
    tree, _, names = folder.name.partition("-")
    return names if tree == level.tree else ""


def _target(loaded: LoadedRecipe, key: tuple[str | int, ...], claim: Claim, trees: Trees) -> Target:
    """Return the level that a claim compares with, if it names one."""
    for name in ("against", "less_than", "ratio"):
        other = getattr(claim, name)
        if other is None or other.level is None:
            continue
        if other.level == PREVIOUS:
            return "previous"
        return _find(loaded, (*key, name, "level"), other.level, trees)
    return None


def companion_level(name: str, text: str, trees: Trees) -> LevelTree:
    """Return the level of a companion that a recipe names. Raises NotReachable and BadInput."""
    try:
        levels = [each for each in trees.levels(name) if not each.off]
        level = levels[-1] if text == LAST else trees.find(name, text)
        trees.folder(name, level, ())
    except NotReachable as error:
        prefix = f"companion {name}: "
        raise NotReachable(f"{prefix}{error}", prefix + error.detail, fault=error.fault) from error
    return level


def _select(
    loaded: LoadedRecipe,
    key: tuple[str | int, ...],
    selection: LevelSelection,
    levels: Sequence[LevelTree],
    trees: Trees,
) -> frozenset[int]:
    """Return the numbers of the levels that a recipe selects.

    A level that is off by default is selected only by its name.
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
