"""Which claims are contract, by default and by the key."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from porter.errors import BadInput
from porter.verify.plan.select import plan_recipe
from porter.verify.plan.trees import NamedLevel
from porter.verify.recipe.load import load_recipe

LEVELS = (
    NamedLevel(0, "upstream"),
    NamedLevel(1, "one"),
    NamedLevel(2, "two"),
    NamedLevel(3, "extra", off=True),
)


class Named:
    """The levels alone."""

    def levels(self, port: str) -> tuple[NamedLevel, ...]:
        return LEVELS

    def find(self, port: str, text: str) -> NamedLevel:
        return next(level for level in LEVELS if text in (level.name, str(level.number)))

    def folder(self, port: str, level: object, needs: object) -> Path:
        return Path()

    def mend(self, folder: Path) -> str:
        return ""


def contract(tmp_path: Path, claims: str, more: str = "") -> list[bool | None]:
    """Return whether each claim of a recipe is contract."""
    (tmp_path / "probe.py").write_text("def run(probe): pass\n")
    path = tmp_path / "recipe.yaml"
    rows = indent("".join(f"- {{{claim}}}\n" for claim in claims.split("\n")), "  ")
    path.write_text(f"version: 1\ntitle: x\nprobe: probe.py\n{more}claims:\n{rows}")
    planned = plan_recipe(load_recipe(path), LEVELS, None, Named())
    return [claim.contract for claim in planned.loaded.recipe.claims]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("outputs: y, parity: {}", True),
        ("outputs: y, parity: {}, levels: {from: two}", True),
        ("outputs: y, parity: {}, levels: {to: one}", False),
        ("outputs: y, parity: {}, levels: [one, extra]", False),
        ("outputs: y, finite: {}, levels: [two]", True),
        ("outputs: y, nonfinite: {reason: it overflows}", False),
        ("outputs: y, equal: {}, against: {level: upstream}", True),
        ("outputs: y, equal: {}, against: {level: one}, levels: [two]", False),
        ("outputs: y, equal: {}, against: {level: previous}", False),
        ("outputs: y, equal: {}, against: {level: previous}, contract: true", True),
        ("outputs: y, parity: {}, contract: false", False),
        ("counters: n, equal: 3", True),
        ("counters: n, equal: 3, levels: [two]", False),
        ("counters: n, equal: 3, levels: [two], contract: true", True),
        ("counters: n, less_than: {level: one}", False),
        ("throughput: rate, ratio: {level: one}", False),
    ],
)
def test_a_claim_is_contract_by_its_key_or_by_what_it_covers(
    tmp_path: Path, claim: str, expected: bool
) -> None:
    both = f"outputs: z, parity: {{}}\n{claim}"

    assert contract(tmp_path, both) == [True, expected]
    said = "contract: true" in claim
    assert contract(tmp_path, both, "contract: false\n") == [False, said]


def test_the_recipes_highest_level_counts_not_the_ports(tmp_path: Path) -> None:
    claims = "outputs: y, parity: {}, levels: [one]\noutputs: z, parity: {}"

    assert contract(tmp_path, claims) == [False, True]
    assert contract(tmp_path, claims, "levels: [one]\n") == [True, True]
    assert contract(tmp_path, claims, "levels: [one, extra]\n") == [True, True]


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        ("outputs: y, equal: {}, against: {level: one}", "compares with a level of the port"),
        ("outputs: y, equal: {}, levels: [one]", "the port's end would not be held to it"),
        ("outputs: y, nonfinite: {reason: so}", "true beside nonfinite"),
        ("throughput: rate, ratio: {level: one}", "true beside throughput"),
    ],
)
def test_what_cannot_be_contract_is_named(tmp_path: Path, claim: str, found: str) -> None:
    claims = f"outputs: z, parity: {{}}\n{claim}, contract: true"

    with pytest.raises(BadInput, match=r"recipe\.yaml:6: claims\[1\]\.contract: expected") as error:
        contract(tmp_path, claims)

    assert found in str(error.value)
