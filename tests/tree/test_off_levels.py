"""Levels that a series has off by default, and patches with less context."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_project import sealed_git
from tests.tree.conftest import Porter, head

LINES = "0001-widen-a.patch\n0002-add-new.patch\n# why it is off\n# off: 0003-drop-old.patch\n"


@pytest.fixture
def off(project: Path, porter: Porter) -> Path:
    """The project with toy's last level off, in the series file and the lock."""
    (project / "patches" / "toy" / "series").write_text(LINES)
    assert porter("lock", "toy", "mate").code == 0
    return project


def test_off_level_is_checked_and_linted_like_any_other(off: Path, porter: Porter) -> None:
    assert "drop-old" in (off / "patches" / "toy" / "levels.lock").read_text()
    assert porter("check", "toy").code == porter("lint", "toy").code == 0
    patch = off / "patches" / "toy" / "0003-drop-old.patch"
    patch.write_text(patch.read_text().replace("Gains:", "Wins:"))
    assert porter("lint", "toy").code == 1


def test_off_level_is_taken_only_by_its_name(off: Path, porter: Porter, tmp_path: Path) -> None:
    tree = tmp_path / "work" / "toy"
    assert porter("apply", "toy", tree).code == 0
    assert head(tree) == "Add a new file"
    ran = porter("next", tree)
    assert (ran.code, "drop-old is off by default: `porter goto drop-old`" in ran.err) == (1, True)
    assert porter("goto", "drop-old", tree).code == 0
    assert head(tree) == "Drop the old file"
    assert "2 + 1 off" in porter("list").out


@pytest.mark.parametrize("level", ["add-new", "drop-old"])
def test_export_keeps_a_level_off(off: Path, porter: Porter, tmp_path: Path, level: str) -> None:
    tree = tmp_path / "work" / "toy"
    assert porter("apply", "toy", tree, "--level", level).code == 0
    assert porter("export", "toy", tree).code == 0
    assert (off / "patches" / "toy" / "series").read_text() == LINES


@pytest.mark.parametrize("spelled", ["# off: ", "#off:"])
def test_off_level_stays_off_when_a_level_below_it_is_renamed(
    off: Path, porter: Porter, tmp_path: Path, spelled: str
) -> None:
    series = off / "patches" / "toy" / "series"
    series.write_text(series.read_text().replace("# off: ", spelled))
    tree = tmp_path / "work" / "toy"
    assert porter("apply", "toy", tree, "--level", "drop-old").code == 0
    sealed_git(tree, "rebase", "--quiet", "--onto", "HEAD~2", "HEAD~1")
    assert porter("export", "toy", tree, "--drop").code == 0
    lines = series.read_text().splitlines()
    assert [line for line in lines if "why" not in line] == [
        "0001-widen-a.patch",
        "# off: 0002-drop-old.patch",
    ]


def test_level_above_one_that_is_off_is_refused(off: Path, porter: Porter) -> None:
    series = off / "patches" / "toy" / "series"
    series.write_text("0001-widen-a.patch\n# off: 0003-drop-old.patch\n0002-add-new.patch\n")
    ran = porter("lint", "toy")
    assert ran.code == 1
    assert "expected levels that are off last, found 0003-drop-old.patch" in ran.out


def test_context_of_the_pin_is_that_of_the_patches(
    toy: Path, project: Path, porter: Porter
) -> None:
    pins = project / "upstream_pins.yaml"
    pins.write_text(pins.read_text().replace("license: MIT\n", "license: MIT\n    context: 1\n", 1))
    assert "more than 1 line of context" in porter("lint", "toy").out
    trees = sealed_git(toy, "log", "--format=%T")
    assert porter("export", "toy", toy).code == 0
    assert porter("lint", "toy").code == 0
    text = (project / "patches" / "toy" / "0001-widen-a.patch").read_text()
    assert "\n a2 = 2\n-a3 = 3\n+a3 = 'three'\n a4 = 4\n" in text
    assert "@@ -3,3 +3,3 @@\n" in text
    again = toy.parent / "again"
    assert porter("apply", "toy", again).code == 0
    assert sealed_git(again, "log", "--format=%T") == trees
