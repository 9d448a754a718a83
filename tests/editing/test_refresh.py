"""``porter refresh``: edits and commits at any level become the series, and undo brings it back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.small_project import message, sealed_git, write_files
from tests.tree.conftest import Porter, head
from tests.tree.test_export import commit, patches


def test_edit_at_a_middle_level_is_replayed_through_the_levels_above(
    toy: Path, porter: Porter, project: Path
) -> None:
    before = patches(project)
    assert porter("goto", "widen-a", toy).code == 0
    (toy / "more.md").write_text("more\n")
    sealed_git(toy, "add", "more.md")
    ran = porter("refresh", toy)
    assert (ran.code, ran.err) == (0, "")
    assert "level 1 of 3: widen-a" in ran.out
    assert sealed_git(toy, "status", "--porcelain") == ""
    after = patches(project)
    assert b"+more\n" in after["0001-widen-a.patch"]
    assert after["0002-add-new.patch"] == before["0002-add-new.patch"]
    assert porter("check", "toy").code == 0
    assert porter("goto", "3", toy).code == 0
    assert (toy / "more.md").read_text() == "more\n"


def test_amended_commit_at_a_middle_level_keeps_the_levels_above(
    toy: Path, porter: Porter, project: Path
) -> None:
    assert porter("goto", "1", toy).code == 0
    (toy / "more.md").write_text("more\n")
    sealed_git(toy, "add", "more.md")
    sealed_git(toy, "commit", "--quiet", "--amend", "--no-edit")
    assert porter("next", toy).code == 1  # its commit would be lost, and says what to do
    assert porter("refresh", toy).code == 0
    assert set(patches(project)) >= {"0002-add-new.patch", "0003-drop-old.patch"}
    assert porter("check", "toy").code == 0
    assert porter("next", toy).code == 0
    assert head(toy) == "Add a new file"


def test_new_commit_at_a_middle_level_becomes_a_level_there(
    toy: Path, porter: Porter, project: Path
) -> None:
    assert porter("goto", "1", toy).code == 0
    commit(toy, message("say-more", "Say more"), more__md="more\n")
    ran = porter("refresh", toy)
    assert "level 2 of 4: say-more" in ran.out
    names = ["0001-widen-a", "0002-say-more", "0003-add-new", "0004-drop-old"]
    assert sorted(n for n in patches(project) if n[0] == "0") == [f"{n}.patch" for n in names]
    assert porter("check", "toy").code == 0


@pytest.mark.parametrize("at", ["1", "3"])
def test_fixup_goes_into_the_level_it_names(
    toy: Path, porter: Porter, project: Path, at: str
) -> None:
    first = sealed_git(toy, "rev-parse", "refs/porter/levels/0001-widen-a").strip()
    assert porter("goto", at, toy).code == 0
    write_files(toy, {"more.md": "more\n"})
    sealed_git(toy, "add", "more.md")
    sealed_git(toy, "commit", "--quiet", f"--fixup={first}")
    assert porter("refresh", toy).code == 0
    after = patches(project)
    assert b"+more\n" in after["0001-widen-a.patch"]
    assert len([name for name in after if name.endswith(".patch")]) == 3
    assert porter("check", "toy").code == 0


def test_edits_at_level_0_are_refused(toy: Path, porter: Porter, project: Path) -> None:
    before = patches(project)
    assert porter("goto", "0", toy).code == 0
    (toy / "pkg" / "a.py").write_text("edited = 1\n")
    ran = porter("refresh", toy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "`porter new NAME`" in ran.err
    assert patches(project) == before


def _conflict(toy: Path, porter: Porter) -> str:
    """Edit at level 1 a line that level 2 changes too; return the file."""
    assert porter("goto", "3", toy).code == 0
    rows = ["".join(f"{mark}{n}\n" for n in range(9)) for mark in ("x", "x")]
    write_files(toy, {"fight.txt": rows[0]})
    sealed_git(toy, "add", "fight.txt")
    sealed_git(toy, "commit", "--quiet", "-m", message("first-fight", "Fight first"))
    write_files(toy, {"fight.txt": rows[1].replace("x4", "second")})
    sealed_git(toy, "commit", "--quiet", "-am", message("second-fight", "Fight again"))
    assert porter("refresh", toy).code == 0
    assert porter("goto", "first-fight", toy).code == 0
    write_files(toy, {"fight.txt": rows[0].replace("x4", "mine")})
    return "fight.txt"


def test_conflict_is_gits_own_and_continues(toy: Path, porter: Porter, project: Path) -> None:
    name = _conflict(toy, porter)
    before = patches(project)
    ran = porter("refresh", toy)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "second-fight conflicts in fight.txt" in ran.err
    assert "<<<<<<<" in (toy / name).read_text()
    assert sealed_git(toy, "diff", "--name-only", "--diff-filter=U").split() == [name]
    assert patches(project) == before
    assert porter("goto", "1", toy).code == 1
    assert porter("refresh", toy).code == 1
    ran = porter("refresh", toy, "--continue")
    assert (ran.code, "conflicts are left in fight.txt" in ran.err) == (1, True)
    (toy / name).write_text((toy / name).read_text().split("<<<<<<<")[0] + "both\n")
    sealed_git(toy, "add", name)
    ran = porter("refresh", toy, "--continue")
    assert (ran.code, ran.err) == (0, "")
    assert "level 4 of 5: first-fight" in ran.out
    assert b"+mine\n" in patches(project)["0004-first-fight.patch"]
    assert b"+both\n" in patches(project)["0005-second-fight.patch"]
    assert porter("check", "toy").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert sealed_git(toy, "for-each-ref", "refs/porter/edit") == ""


@pytest.mark.forms(1)
@pytest.mark.parametrize("how", ["porter", "git"])
def test_conflict_that_git_continued_is_finished(toy: Path, porter: Porter, how: str) -> None:
    name = _conflict(toy, porter)
    porter("refresh", toy)
    (toy / name).write_text("both\n")
    sealed_git(toy, "add", name)
    if how == "git":
        sealed_git(toy, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert porter("refresh", toy, "--continue").code == 0
    assert porter("check", "toy").code == 0


def test_abort_brings_files_index_and_series_back(toy: Path, porter: Porter, project: Path) -> None:
    name = _conflict(toy, porter)
    write_files(toy, {"staged.txt": "staged\n", "loose.txt": "loose\n"})
    sealed_git(toy, "add", "staged.txt")
    before, status = patches(project), sealed_git(toy, "status", "--porcelain")
    place = sealed_git(toy, "rev-parse", "HEAD")
    assert porter("refresh", toy).code == 1
    assert porter("refresh", toy, "--abort").code == 0
    assert patches(project) == before
    assert sealed_git(toy, "rev-parse", "HEAD") == place
    assert sealed_git(toy, "status", "--porcelain") == status
    assert "mine" in (toy / name).read_text()
    assert (toy / "loose.txt").read_text() == "loose\n"


def test_skip_leaves_the_level_out(toy: Path, porter: Porter, project: Path) -> None:
    _conflict(toy, porter)
    assert porter("refresh", toy).code == 1
    assert porter("refresh", toy, "--skip").code == 0
    assert "0005-second-fight.patch" not in patches(project)
    assert porter("check", "toy").code == 0
    assert porter("undo", "toy").code == 0
    assert "0005-second-fight.patch" in patches(project)


def test_a_series_changed_meanwhile_is_refused_and_abort_goes_back(
    toy: Path, porter: Porter, project: Path
) -> None:
    """Nothing is left to skip then, and status offers what there is."""
    _conflict(toy, porter)
    assert porter("refresh", toy).code == 1
    assert porter("undo", "toy", "--root", project).code == 0
    assert "porter refresh --skip      leave second-fight out" in porter("status", toy).out
    ran = porter("refresh", toy, "--skip")
    assert (ran.code, "changed since `porter refresh" in ran.err) == (1, True)
    said = porter("status", toy).out
    assert "porter refresh --abort" in said
    assert "--skip" not in said
    assert porter("refresh", toy, "--abort").code == 0


def test_undo_and_redo_walk_through_every_state(toy: Path, porter: Porter, project: Path) -> None:
    states = [patches(project)]
    os.chdir(toy)
    for number in range(3):
        (toy / "pkg" / "a.py").write_text(f"a = {number}\n")
        assert porter("refresh").code == 0
        states.append(patches(project))
    for state in reversed(states[:-1]):
        assert porter("undo").code == 0
        assert patches(project) == state
    assert porter("undo").code == 1
    for state in states[1:]:
        assert porter("redo").code == 0
        assert patches(project) == state
    assert porter("redo").code == 1
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_change_by_hand_is_a_step_of_its_own(toy: Path, porter: Porter, project: Path) -> None:
    os.chdir(toy)
    (toy / "pkg" / "a.py").write_text("a = 1\n")
    assert porter("refresh").code == 0
    exported = patches(project)
    (project / "patches" / "toy" / "0003-drop-old.patch").unlink()
    (project / "patches" / "toy" / "series").write_text("0001-widen-a.patch\n")
    ran = porter("undo")
    assert "undone: changed without porter" in ran.out
    assert patches(project) == exported


def test_any_state_of_the_log_can_be_restored(toy: Path, porter: Porter, project: Path) -> None:
    os.chdir(toy)
    before = patches(project)
    (toy / "pkg" / "a.py").write_text("a = 1\n")
    assert porter("refresh").code == 0
    rows = porter("undo", "--list").out.splitlines()
    assert len(rows) == 2
    oldest = rows[-1].split()[0]
    assert porter("undo", "--to", oldest).code == 0
    assert patches(project) == before
    assert porter("undo", "--to", "0").code == 2


def test_a_damaged_log_of_states_is_named_in_one_line(toy: Path, porter: Porter) -> None:
    (toy / "pkg" / "b.py").open("a").write("# mine\n")
    assert porter("refresh", toy).code == 0
    log = Path(os.environ["PORTER_CACHE"]) / "history.git"
    tip = sealed_git(log, "for-each-ref", "--format=%(objectname)").split()[0]
    blob = sealed_git(log, "ls-tree", "-r", tip).split()[2]
    for pack in log.glob("objects/pack/*.pack"):
        data = pack.read_bytes()
        for index in log.glob("objects/pack/*.*"):
            index.unlink()
        done = subprocess.run(["git", f"--git-dir={log}", "unpack-objects", "-q"], input=data)
        assert done.returncode == 0
    (log / "objects" / blob[:2] / blob[2:]).unlink()
    ran = porter("undo", "toy")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "history.git: the state" in ran.err
    assert f"no blob {blob}" in ran.err
    shutil.rmtree(log)
    assert porter("undo", "toy", "--list").code == 0


def test_locks_that_a_killed_git_left_in_the_log_of_states_are_no_obstacle(
    toy: Path, porter: Porter
) -> None:
    (toy / "pkg" / "b.py").open("a").write("# mine\n")
    assert porter("refresh", toy).code == 0
    log = Path(os.environ["PORTER_CACHE"]) / "history.git"
    refs = sealed_git(log, "for-each-ref", "--format=%(refname)").split()
    assert refs
    for ref in refs:
        (log / f"{ref}.lock").touch()
    assert porter("undo", "toy").code == 0
    assert porter("redo", "toy").code == 0
    assert not list((log / "refs").rglob("*.lock"))
