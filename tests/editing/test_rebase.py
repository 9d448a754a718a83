"""``porter rebase``: the series on another commit of the upstream, and back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.small_project import (
    A_LINES,
    B_LINES,
    Upstreams,
    move_pin,
    replaced,
    sealed_git,
    series_steps,
    snapshot,
    write_files,
)
from tests.tree.conftest import Porter

LATER = {
    "clean": {"pkg/a.py": "# first\n" + "".join(A_LINES)},
    "merged": {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'five'\n"), "pkg/new.py": "new = 1\n"},
    "conflict": {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'upstream'\n")},
}


@pytest.fixture
def later(project: Path, upstreams: Upstreams) -> dict[str, str]:
    """Commits of toy's upstream after the pinned one, by what they do to the series."""
    pins = project / "upstream_pins.yaml"
    before = pins.read_text()
    found = {}
    for name, files in LATER.items():
        found[name] = move_pin(project, upstreams, dict(files))
        pins.write_text(before)
    return found


def levels(out: str) -> dict[str, str]:
    return {row["level"]: row["status"] for row in json.loads(out)["levels"]}


@pytest.mark.parametrize("in_tree", [True, False])
def test_patches_that_fit_move_by_themselves(
    toy: Path, porter: Porter, project: Path, later: dict[str, str], in_tree: bool
) -> None:
    os.chdir(toy if in_tree else project)
    before = snapshot(project)
    ran = porter("rebase", "toy", "--onto", f"next-{later['clean'][:12]}", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "moved", "add-new": "same", "drop-old": "moved"}
    assert later["clean"] in (project / "upstream_pins.yaml").read_text()
    assert porter("check", "toy").code == 0
    if in_tree:
        assert sealed_git(toy, "status", "--porcelain") == ""
        assert (toy / "pkg" / "a.py").read_text().startswith("# first\n")
    assert porter("undo", "toy").code == 0
    assert snapshot(project) == before
    if in_tree:
        assert sealed_git(toy, "status", "--porcelain") == ""
        assert not (toy / "pkg" / "a.py").read_text().startswith("# first\n")


def test_a_level_that_the_upstream_has_is_dropped_when_asked(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    before = snapshot(project)
    ran = porter("rebase", "--onto", later["merged"])
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "the upstream has add-new already" in ran.err
    assert snapshot(project) == before
    ran = porter("rebase", "--onto", later["merged"], "--drop-merged", "--json")
    assert levels(ran.out) == {"widen-a": "same", "add-new": "dropped", "drop-old": "same"}
    assert porter("check", "toy").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_a_conflict_without_a_tree_changes_nothing(
    porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(project)
    before = snapshot(project)
    ran = porter("rebase", "toy", "--onto", later["conflict"])
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "add-new conflicts in pkg/b.py" in ran.err
    assert snapshot(project) == before


@pytest.mark.parametrize("edited", [False, True])
def test_abort_returns_exactly(
    toy: Path, porter: Porter, project: Path, later: dict[str, str], edited: bool
) -> None:
    os.chdir(toy)
    if edited:
        write_files(toy, {"loose.txt": "mine\n"})
    before = snapshot(project), snapshot(toy), sealed_git(toy, "rev-parse", "HEAD")
    status = sealed_git(toy, "status", "--porcelain=v2", "--branch")
    ran = porter("rebase", "--onto", later["conflict"])
    assert "add-new conflicts in pkg/b.py" in ran.err
    assert "<<<<<<<" in (toy / "pkg" / "b.py").read_text()
    assert snapshot(project) == before[0]
    assert porter("rebase", "--abort").code == 0
    assert (snapshot(project), snapshot(toy), sealed_git(toy, "rev-parse", "HEAD")) == before
    assert sealed_git(toy, "status", "--porcelain=v2", "--branch") == status


def test_conflict_resolved_goes_on_to_the_end(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    assert porter("rebase", "--continue").code == 1
    write_files(toy, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'both'\n")})
    sealed_git(toy, "add", "pkg/b.py")
    ran = porter("rebase", "--continue", "--json")
    assert ran.code == 0, ran.err
    assert levels(ran.out) == {"widen-a": "same", "add-new": "changed", "drop-old": "same"}
    assert later["conflict"] in (project / "upstream_pins.yaml").read_text()
    assert porter("check", "toy").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("goto", "0").code == 0
    assert (toy / "pkg" / "b.py").read_text() == LATER["conflict"]["pkg/b.py"]


def test_skip_leaves_the_level_in_conflict_out(
    toy: Path, porter: Porter, project: Path, later: dict[str, str]
) -> None:
    os.chdir(toy)
    assert porter("rebase", "--onto", later["conflict"]).code == 1
    ran = porter("rebase", "--skip", "--json")
    assert levels(ran.out) == {"widen-a": "same", "add-new": "dropped", "drop-old": "same"}
    assert porter("check", "toy").code == 0
    assert len(series_steps()) == 3


def test_pin_moved_by_hand_is_followed(
    project: Path, porter: Porter, upstreams: Upstreams, later: dict[str, str]
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    move_pin(project, upstreams, dict(LATER["clean"]))
    ran = porter("rebase", "toy", "--json")
    assert ran.code == 0, ran.err
    assert set(levels(ran.out).values()) == {"same", "moved"}
    assert porter("check", "toy").code == 0
    assert later["clean"]


def test_pin_moved_by_hand_stays_when_the_replay_conflicts(
    project: Path, porter: Porter, upstreams: Upstreams
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    move_pin(project, upstreams, dict(LATER["conflict"]))
    before = snapshot(project)
    ran = porter("rebase", "toy")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert snapshot(project) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--onto", "no-such-branch"), "no branch, tag or commit 'no-such-branch'"),
        (("--onto", "main"), "is at"),
        ((), "where its levels.lock has it"),
    ],
)
def test_what_cannot_be_a_new_upstream_is_said(
    project: Path, porter: Porter, arguments: tuple[str, ...], said: str
) -> None:
    os.chdir(project)
    assert porter("lock", "toy").code == 0
    before = snapshot(project)
    ran = porter("rebase", "toy", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert said in ran.err
    assert snapshot(project) == before
