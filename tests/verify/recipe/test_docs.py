"""docs/recipes.md explains every key and every claim, and its examples are recipes."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from porter.verify.recipe.claims import COUNTER_KINDS, OUTPUT_KINDS, Claim
from porter.verify.recipe.schema import Recipe
from porter.yamlfile import loads

PAGE = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [Recipe, Claim])
def test_every_key_is_documented(model: type[msgspec.Struct]) -> None:
    documented = set(re.findall(r"`(\w+)|^ +(?:- )?(\w+):", PAGE, re.M))
    documented = {name for pair in documented for name in pair}

    keys = {field.encode_name for field in msgspec.structs.fields(model)}

    assert keys - documented == set()


@pytest.mark.parametrize("kind", OUTPUT_KINDS)
def test_every_kind_of_claim_on_outputs_has_its_paragraph(kind: str) -> None:
    assert f"**`{kind}: " in PAGE


@pytest.mark.parametrize("kind", COUNTER_KINDS)
def test_every_kind_of_claim_on_counters_has_its_row(kind: str) -> None:
    assert f"| `{kind}: " in PAGE


def test_the_example_is_a_recipe() -> None:
    (example,) = re.findall(r"\n\n((?:    .*\n)+)", PAGE.split("## Keys")[0])

    recipe = loads(dedent(example).encode(), Path("example.yaml"), Recipe).value

    assert recipe.claims[1].independent_of == "steps"


def test_every_claim_of_the_page_is_one() -> None:
    shown = re.findall(r"^\*\*`(\w+: \{.*?\})`\*\*", PAGE, re.M)
    shown += [f"{kind}: {{}}" for kind in ("equal", "finite")]
    values = {"N": "4", "DB": "40", "L": "255", "S": "0.9", "...": "text"}

    for text in shown:
        claim = re.sub(r"(?<=: )(N|DB|L|S|\.\.\.)(?=[,}])", lambda m: values[m[1]], text)
        if claim.startswith("against"):
            continue
        loads(f"outputs: y\n{claim}\n".encode(), Path("claim.yaml"), Claim)

    assert len(shown) >= len(OUTPUT_KINDS)
