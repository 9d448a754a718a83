"""`porter mutate` on the command line, its output going to a log."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from porter.cli import main
from tests.small_port import SmallPort

UPSTREAM = "def f(x):\n    return x + x - 1\n"
PORTED = "def f(x):\n    y = x * 2 - 1\n    return y + 0\n"
PROBE = """
    from code_of import f
    def run(probe):
        probe.record("y", f(probe.normal("x", 200)))
    """
COMMAND = ["mutate", "small", "--kind", "dropped-term", "--jobs", "1"]


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    """A port whose one level, ``ported``, adds a term of 0: a mutant that no claim notices."""
    port.move_pin({"code_of.py": UPSTREAM})
    port.add_patch("ported", {"code_of.py": PORTED})
    port.add_recipe("one", 'claims: [{outputs: "*", parity: {}}]\n', PROBE)
    return port


def test_a_log_names_each_recipe_and_each_mutant_that_was_missed(
    port: SmallPort, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(COMMAND) == 1

    printed, log = capfd.readouterr()
    first, *_, missed = log.splitlines()
    assert first == "porter: small/one at level ported: without a mutant"
    assert missed.endswith("ported  dropped-term  code_of.py:3  every recipe passes")
    assert log.count("every recipe passes") == 1
    assert "-    return y + 0\n" in printed
    assert "+    return y\n" in printed


def test_json_names_every_mutant_and_its_status_and_a_low_bar_is_reached(
    port: SmallPort, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--json", "--at-least", "10"]) == 0

    data = json.loads(capfd.readouterr().out)
    assert data["possible"] == 5
    by_change = {(one["line"], one["after"]): one["fate"] for one in data["mutants"]}
    assert by_change.pop((3, "return y")) == "survived"
    assert set(by_change.values()) == {"caught"}


def test_listing_tries_none(port: SmallPort, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--list", "--json"]) == 0

    listed = json.loads(capfd.readouterr().out)
    assert {(one["level_name"], one["line"]) for one in listed} == {("ported", 2), ("ported", 3)}
    assert not (Path(os.environ["PORTER_CACHE"]) / "traces").exists()


@pytest.fixture
def higher(port: SmallPort) -> SmallPort:
    """A second level, of another file; the recipe runs at it alone."""
    port.add_patch("other", {"other.py": "A = 1\n"})
    recipe = port.root / "recipes/small/one.yaml"
    recipe.write_text(recipe.read_text().replace("claims:", "levels: [other]\nclaims:"))
    return port


def test_mutants_of_a_level_are_tried_at_a_higher_one(
    higher: SmallPort, capfd: pytest.CaptureFixture[str]
) -> None:
    def fates(*options: str) -> set[tuple[str, str]]:
        assert main([*COMMAND, "--json", "--at-least", "0", *options]) == 0
        return {
            (one["level"], one["fate"]) for one in json.loads(capfd.readouterr().out)["mutants"]
        }

    assert fates("--level", "ported") == {("ported", "not run")}
    assert fates("--level", "ported", "--at", "other") == {
        ("ported", "caught"),
        ("ported", "survived"),
    }


def test_mutants_whose_file_changes_in_between_are_left_out(
    higher: SmallPort, capfd: pytest.CaptureFixture[str]
) -> None:
    higher.add_patch("again", {"code_of.py": PORTED + "\n\ndef g(x):\n    return x + 1 + x\n"})

    assert main([*COMMAND, "--list", "--at", "again"]) == 0
    listed, log = capfd.readouterr()
    assert "return x + 1" in listed
    assert "y = x" not in listed
    assert log == "porter: 5 mutants left out: a level up to again changes the file again\n"

    assert main([*COMMAND, "--list", "--level", "ported", "--at", "again"]) == 2
    assert "none of the 5 mutants can be tried there" in capfd.readouterr().err
