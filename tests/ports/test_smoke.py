"""The tag smoke, a newcomer's first verification: a recipe of every kind there is, and few runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from porter.places import recipes_dir
from porter.verify.plan.select import ports_with_recipes
from porter.verify.recipe.load import LoadedRecipe, find_recipes
from tests.conftest import PROJECT

ALL = [
    recipe
    for port in ports_with_recipes(PROJECT)
    for recipe in find_recipes(recipes_dir(PROJECT, port))
]
SMOKE = [recipe for recipe in ALL if "smoke" in recipe.recipe.tags]
Kinds = Callable[[LoadedRecipe], Iterable[str]]


def ports(recipe: LoadedRecipe) -> list[str]:
    return [recipe.port]


def devices(recipe: LoadedRecipe) -> list[str]:
    """The devices; a simulated one of an older release of its software is of the same kind."""
    return [name.partition("@")[0] for name in recipe.recipe.devices]


def claims(recipe: LoadedRecipe) -> list[str]:
    return [f"{claim.subject}: {claim.kind_name}" for claim in recipe.recipe.claims]


def ways_to_run(recipe: LoadedRecipe) -> list[str]:
    """How the probe runs upstream's code: its scripts, processes of their own, or its classes."""
    text = (Path(recipe.path).parent / recipe.recipe.probe).read_text(encoding="utf-8")
    return re.findall(r"\bprobe\.(script|launch)\(", text) or ["classes"]


@pytest.mark.parametrize("kinds", [ports, devices, claims, ways_to_run])
def test_smoke_has_every_kind_that_the_full_set_has(kinds: Kinds) -> None:
    there = {kind for recipe in ALL for kind in kinds(recipe)}

    covered = {kind for recipe in SMOKE for kind in kinds(recipe)}

    assert there - covered == set()
    assert len(there) > 2


def test_some_recipes_of_smoke_need_no_environment_of_their_own() -> None:
    assert [recipe.name for recipe in SMOKE if recipe.environment is None]


def test_every_recipe_is_quick_full_or_of_smoke_alone() -> None:
    tags = {recipe.recipe.tags for recipe in ALL}

    assert tags == {("quick",), ("full",), ("smoke",), ("quick", "smoke"), ("full", "smoke")}
