"""``porter mutate --by-claim``: what each claim measures on mutants, on a small port of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from porter.cli import main
from porter.places import cache_dir
from tests.small_port import SmallPort

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
def mutate(port: SmallPort) -> Mutate:
    """Run ``porter mutate --by-claim`` on the port with these claims. A doubled number of its level
    gives 12 dB or 52 dB."""
    port.move_pin({"code_of.py": UPSTREAM})
    port.add_patch("three", {"code_of.py": LEVEL})

    def run(claims: list[str], *options: str) -> int:
        port.add_recipe("one", f"claims: [{', '.join(claims)}]\n", PROBE)
        return main(["mutate", "small", "--by-claim", "--kind", "scaled-constant", *options])

    return run


def recipe_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the printed JSON of the one recipe."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["recipes"][0]
    return found


def when_measured() -> dict[str, int]:
    """Return which results are in the cache, and when each was written."""
    files = (cache_dir() / "mutants" / "small" / "margins").iterdir()
    return {path.name: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_a_claim_weaker_than_a_mutant_is_shown_with_the_mutants_value(
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


def test_a_tightened_claim_is_judged_on_cached_values_and_is_no_longer_loose(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    mutate([PSNR % 20, COUNTED], "--json")
    before = recipe_json(capsys)
    measured = when_measured()

    assert mutate([PSNR % 90, COUNTED], "--json") == 0

    assert len(measured) == 2
    assert when_measured() == measured

    after = recipe_json(capsys)
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

    recipe = recipe_json(capsys)
    assert (recipe["run_over"], recipe["unmeasured"], recipe["missed"]) == (2, 2, 0)
    assert [(c["bound"], c["mutants"]) for c in recipe["claims"]] == [("at_least 2", [])]


def test_mutants_listed_as_equivalent_do_not_count(
    mutate: Mutate, port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = port.root / "recipes" / "small" / "mutants" / "equivalent.yaml"
    listed.parent.mkdir(parents=True)
    entry = """\
        version: 1
        equivalents:
          - {level: three, file: code_of.py, before: "return x + x * 0.99 + x * 0.01",
             after: "return x + x * 0.99 + x * 0.02", reason: "so that a test can say so"}
        """
    listed.write_text(dedent(entry))

    assert mutate([PSNR % 20], "--json") == 0
    assert recipe_json(capsys)["run_over"] == 1


def test_by_claim_and_a_list_of_mutants_exclude_each_other(
    mutate: Mutate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate([PSNR % 20], "--list") == 2

    assert "--list tries no mutant: expected it without --by-claim" in capsys.readouterr().err


def test_what_claims_measured_is_recorded_and_shown_beside_their_bounds(
    mutate: Mutate, port: SmallPort, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate([PSNR % 20, COUNTED], "--record") == 1
    capsys.readouterr()

    assert main(["verify", "small", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)["recipes"][0]["verdicts"]
    known = {row["output"]: row["known_wrong"] for row in found}
    assert known["calls"] is None
    assert known["image"]["measure"] == "dB"
    assert known["image"]["trees"] == 2
    assert 52 < known["image"]["nearest"] < 54
    assert 13 < known["image"]["farthest"] < 14
    # another figure and no contract are the same claim; another peak is not
    for claim, is_known in (
        (PSNR % 30, True),
        ((PSNR % 20).replace("psnr", "contract: false, psnr"), True),
        ((PSNR % 20).replace("peak: 4", "peak: 8"), False),
    ):
        port.add_recipe("one", f"claims: [{claim}]\n", PROBE.replace("probe.count", "print"))
        main(["verify", "small"])
        text = capsys.readouterr().out
        assert ("known wrong" in text, " to 13." in text) == (is_known, is_known)


def test_a_damaged_record_is_one_line(port: SmallPort, capsys: pytest.CaptureFixture[str]) -> None:
    port.move_pin({"code_of.py": UPSTREAM})
    port.add_patch("three", {"code_of.py": LEVEL})
    port.add_recipe("one", f"claims: [{PSNR % 20}, {COUNTED}]\n", PROBE)
    folder = port.root / "recipes" / "small" / "mutants"
    folder.mkdir()
    (folder / "measured.json").write_text('{"version": 1}')

    assert main(["verify", "small"]) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "measured.json: expected what `porter mutate small --by-claim --record` writes" in err
    assert main(["mutate", "small", "--record"]) == 2
    assert "--record: expected --by-claim beside it" in capsys.readouterr().err
