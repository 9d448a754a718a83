"""``bench/one_line.py`` counts the runs that a change of one line makes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.one_line import Change, changes
from tests.small_project import make_project, make_upstreams
from tests.verify.folder_trees import PARITY, write_recipe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose port ``toy`` has two recipes of 6 runs each, and ``mate`` one of 4."""
    made = make_project(tmp_path / "project", make_upstreams(tmp_path / "upstreams"))
    mate = "companions: {mate: last}\n"
    write_recipe(made, "toy", "code", f"needs: [pkg/]\ntags: [quick]\n{PARITY}", "# code")
    write_recipe(made, "toy", "tools", f"needs: [tools/]\n{mate}{PARITY}", "# tools")
    write_recipe(made, "mate", "own", PARITY, "# own")
    monkeypatch.chdir(tmp_path)
    return made


def changed(root: Path, port: str, *, each: bool = False) -> list[Change]:
    return list(changes(root, port, root.with_name("changed"), each=each))


def test_a_change_of_the_last_level_makes_that_levels_runs_again(root: Path) -> None:
    [change] = changed(root, "toy")

    assert (change.place.level, change.place.path) == ("drop-old", "pkg/a.py")
    assert str(change.counted()) == "2 of 12"
    assert str(change.counted(quick=True)) == "1 of 6"
    assert str(change.elsewhere) == "0 of 0"


def test_recipes_with_runs_that_are_made_again_are_named(root: Path) -> None:
    [change] = changed(root, "toy")

    assert list(change.recipes()) == ["    toy/code (quick): 1 of 6", "    toy/tools: 1 of 6"]


def test_a_change_below_makes_the_runs_of_all_levels_above_again(root: Path) -> None:
    counts = {
        change.place.level: change.counted().again for change in changed(root, "toy", each=True)
    }

    assert counts == {"drop-old": 2, "add-new": 4, "widen-a": 6}


def test_a_change_of_a_companion_makes_every_run_beside_it_again(root: Path) -> None:
    [change] = changed(root, "mate")

    assert (str(change.counted()), str(change.elsewhere)) == ("1 of 4", "6 of 12")
    assert change.row() == "| mate | mate-two | `mate.py` | 0 of 0 |  | 1 of 4 |  | 6 of 12 |"
