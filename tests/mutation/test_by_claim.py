"""``porter mutate --by-claim``: what each claim measures on mutants, on a small port of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from porter.cli import main
from porter.mutation import margins
from porter.verify.cache.store import Places
from tests.small_port import make_small_port
from tests.verify.folder_trees import write_recipe

UPSTREAM = "def f(x):\n    return x * 2.0\n"
LEVEL = "def f(x):\n    return x + x * 0.99 + x * 0.01\n"
PROBE = """
    from code_of import f
    def run(probe):
        probe.record("image", f(probe.normal("x", 64)))
        probe.count("calls", 3)
    """
PSNR = '{outputs: image, psnr: {at_least: %d, peak: 4, reason: "three products for one"}}'
COUNTED = "{counters: calls, at_least: 2}"

Mutate = Callable[..., int]


@pytest.fixture
def mutate(tmp_path: Path, environments: Path, monkeypatch: pytest.MonkeyPatch) -> Mutate:
    """Run ``porter mutate --by-claim`` on the port with these claims. A doubled number of its level
    gives 12 dB or 52 dB."""
    port = make_small_port(tmp_path)
    port.move_pin({"code_of.py": UPSTREAM})
    port.add_patch("three", {"code_of.py": LEVEL})
    places = Places(environments, tmp_path / "traces", tmp_path / "runs")
    monkeypatch.setattr(Places, "under", staticmethod(lambda _: places))
    monkeypatch.setenv("PORTER_ROOT", str(port.root))
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "cache"))

    def run(claims: list[str], *options: str) -> int:
        write_recipe(port.root, "small", "one", f"claims: [{', '.join(claims)}]\n", PROBE)
        return main(["mutate", "small", "--by-claim", "--kind", "scaled-constant", *options])

    return run


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The first claim of the one recipe, as JSON tells it."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["recipes"][0]
    return found


def test_a_claim_weaker_than_a_mutant_is_told_with_what_the_mutant_reached(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate([PSNR % 20]) == 1

    printed = capsys.readouterr().out
    assert "small/one: runs over 2 mutants, 1 caught (0 by a run that failed), 1 measured and" in (
        printed
    )
    assert "one.yaml:4: psnr at_least 20 passes 53.03 dB (image, float32 on cpu)" in printed
    assert "three scaled-constant at code_of.py:2" in printed
    assert "1 claim with a stated bound, 1 weaker than a mutant" in printed


def test_a_tightened_claim_is_judged_on_what_is_kept_and_is_loose_no_more(
    mutate: Mutate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate([PSNR % 20, COUNTED], "--json")
    before = told(capsys)
    monkeypatch.setattr(margins, "_try", None)  # nothing may be run again

    assert mutate([PSNR % 90, COUNTED], "--json") == 0

    after = told(capsys)
    loose, tight = before["claims"][0], after["claims"][0]
    assert (loose["loose"], tight["loose"]) == (True, False)
    assert [one["caught"] for one in loose["mutants"]] == [False, True]
    assert [one["caught"] for one in tight["mutants"]] == [True, True]
    assert tight["correct"]["value"] > 90 > tight["mutants"][0]["value"] > 50


def test_a_mutant_that_another_claim_catches_makes_no_claim_loose(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate([PSNR % 20, "{outputs: image, parity: {}}"]) == 0

    assert "(another claim catches it)" in capsys.readouterr().out


def test_a_claim_whose_measure_no_mutant_changes_has_measured_none(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    mutate([COUNTED, "{outputs: image, finite: {}}"], "--json")

    recipe = told(capsys)
    assert (recipe["run_over"], recipe["unmeasured"], recipe["missed"]) == (2, 2, 0)
    assert [(c["bound"], c["mutants"]) for c in recipe["claims"]] == [("at_least 2", [])]


def test_mutants_listed_as_equivalent_do_not_count(
    mutate: Mutate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "project" / "recipes" / "small" / "mutants" / "equivalent.yaml"
    listed.parent.mkdir(parents=True)
    entry = """\
        version: 1
        equivalents:
          - {level: three, file: code_of.py, before: "return x + x * 0.99 + x * 0.01",
             after: "return x + x * 0.99 + x * 0.02", reason: "so that a test can say so"}
        """
    listed.write_text(dedent(entry))

    assert mutate([PSNR % 20], "--json") == 0
    assert told(capsys)["run_over"] == 1


def test_it_cannot_be_had_with_a_list_of_mutants(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate([PSNR % 20], "--list") == 2

    assert "--list tries no mutant: expected it without --by-claim" in capsys.readouterr().err
