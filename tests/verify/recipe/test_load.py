"""Recipes: what is read, and one line with file, line and key for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.recipe.claims import LevelRange, Parity, WithinUlps
from porter.verify.recipe.load import load_recipe
from tests.verify.folder_trees import write_recipe

FULL = """\
environment: ../environments/old.txt
source_roots: [src]
companions: {accelerate: upstream}
needs: [src/diffusers/]
parameters: {size: 64, factors: [1, 2]}
seeds: [0, 1]
levels: all
dtypes: [float32, float16]
claims:
  - outputs: "image*"
    parity: {}
  - outputs: scores
    levels: {from: fp32-bmm}
    dtypes: [float16]
    within_ulps: {ulps: 8, reason: "level 0 overflows"}
limits: {seconds: 1.5, memory_gib: 2}
threads: 2
tags: [quick]
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    loaded = load_recipe(write_recipe(tmp_path, "port", "one", FULL, ""))

    recipe = loaded.recipe
    assert (loaded.name, loaded.port, recipe.threads) == ("one", "port", 2)
    assert recipe.parameters == {"size": 64, "factors": [1, 2]}
    assert recipe.claims[0].kind == Parity()
    assert recipe.claims[1].levels == LevelRange(first="fp32-bmm")
    assert recipe.claims[1].kind == WithinUlps(ulps=8, reason="level 0 overflows")
    assert (recipe.limits.seconds, recipe.limits.memory_gib) == (1.5, 2.0)
    assert loaded.environment == tmp_path / "recipes/environments/old.txt"


def test_a_short_recipe_has_the_documented_defaults(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "port", "one", 'claims: [{outputs: "*", parity: {}}]', "")

    recipe = load_recipe(path).recipe

    assert recipe.claims[0].kind == Parity(factor=2, ulps=4)
    assert (recipe.dtypes, recipe.seeds, recipe.threads) == (("float32",), (0,), 1)


CLAIM = 'claims: [{outputs: "*", parity: {}}]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one.yaml:1: expected the key 'claims', found none"),
        ("claims: []\n", "one.yaml:4: claims: expected at least one, found none"),
        (CLAIM + "sedes: [1]\n", "one.yaml:5: sedes: expected 'seeds'"),
        (CLAIM + "seeds: [1, 1]\n", "one.yaml:5: seeds[1]: expected each once, found 1"),
        (CLAIM + "dtypes: [float8]\n", "one.yaml:5: dtypes[0]: expected"),
        (CLAIM + "limits: {seconds: 0}\n", "one.yaml:5: limits.seconds: expected a number above 0"),
        (CLAIM + "source_roots: [../x]\n", "one.yaml:5: source_roots[0]: expected a folder of"),
        (CLAIM + "needs: [../x]\n", "one.yaml:5: needs[0]: expected a folder ('src/'), a file or"),
        (
            CLAIM + "needs: [src/**x]\n",
            "found `**` that is not a whole part of the path",
        ),
        (CLAIM + "levels: {}\n", "one.yaml:5: levels: expected `from`, `to` or both"),
        (CLAIM + "threads: many\n", "one.yaml:5: threads: expected a whole number"),
        ('claims: [{outputs: "*"}]\n', "one.yaml:4: claims[0]: expected exactly one of"),
        (
            'claims: [{outputs: "*", parity: {}, equal: {}}]\n',
            "loss_curve, found parity and equal",
        ),
        (
            'claims: [{outputs: "*", parity: {factor: 3}}]\n',
            "claims[0].parity.factor: expected 2, or a `reason` beside it, found 3.0",
        ),
        (
            'claims: [{outputs: "*", within_ulps: {ulps: 3}}]\n',
            "claims[0].within_ulps: expected the key 'reason'",
        ),
        (
            'claims: [{outputs: "*", nonfinite: {reason: " "}}]\n',
            "claims[0].nonfinite.reason: expected a sentence that says why",
        ),
        (
            'claims: [{outputs: "*", dtypes: [float16], parity: {}}]\n',
            "claims[0].dtypes[0]: expected a dtype that the recipe runs (float32), found 'float16'",
        ),
    ],
)
def test_what_is_wrong_is_reported_with_file_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write_recipe(tmp_path, "port", "one", text, "")

    with pytest.raises(BadInput) as error:
        load_recipe(path)

    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_probe_is_reported(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "port", "one", CLAIM, "")
    path.with_name("one_probe.py").unlink()

    with pytest.raises(BadInput, match=r"one.yaml:3: probe: expected a file beside the recipe"):
        load_recipe(path)


def test_claims_and_titles_do_not_reach_the_probe(tmp_path: Path) -> None:
    one = load_recipe(write_recipe(tmp_path, "port", "one", CLAIM, ""))
    two = load_recipe(write_recipe(tmp_path, "port", "two", CLAIM + "tags: [x]\n", ""))
    three = load_recipe(write_recipe(tmp_path, "port", "three", CLAIM + "threads: 2\n", ""))

    assert one.sha256 != two.sha256
    assert one.inputs_sha256() == two.inputs_sha256() != three.inputs_sha256()
