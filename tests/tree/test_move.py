"""Moving between levels rewrites only what differs and never loses an edit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.small_project import (
    A_LINES,
    Upstreams,
    move_pin,
    replaced,
    sealed_git,
    snapshot,
    write_files,
)
from tests.tree.conftest import Porter, head


def test_next_and_prev_walk_the_levels(toy: Path, porter: Porter) -> None:
    seen = []
    for _ in range(3):
        assert porter("prev", toy).code == 0
        seen.append(head(toy))
    assert seen == ["Add a new file", "Widen a", "The pinned commit"]
    assert porter("next", toy).out.startswith("level 1 of 3: widen-a (1 file)")


def test_ends_of_the_series_say_so_and_fail(toy: Path, porter: Porter) -> None:
    ran = porter("next", toy)
    assert (ran.code, "already at the last level, 3 (drop-old)" in ran.err) == (1, True)
    porter("goto", "0", toy)
    ran = porter("prev", toy)
    assert (ran.code, "already at level 0" in ran.err) == (1, True)


def test_move_works_from_a_subfolder(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy / "pkg" / "sub")
    assert porter("goto", "widen").code == 0
    assert head(toy) == "Widen a"


def test_move_works_from_inside_the_submodule(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy / "LIB")
    assert porter("prev").code == 0
    assert head(toy) == "Add a new file"


def test_only_files_that_differ_are_rewritten(toy: Path, porter: Porter) -> None:
    files = [path for path in toy.rglob("*") if path.is_file() and ".git" not in path.parts]
    for path in files:
        os.utime(path, (1_600_000_000, 1_600_000_000))
    porter("goto", "2", toy)
    fresh = {
        str(p.relative_to(toy)) for p in files if p.exists() and p.stat().st_mtime > 1_600_000_001
    }
    assert fresh == {"pkg/a.py"}


def test_way_there_and_back_gives_the_same_files(toy: Path, porter: Porter) -> None:
    before = snapshot(toy)
    for level in ("0", "2", "1", "3"):
        assert porter("goto", level, toy).code == 0
        assert sealed_git(toy, "status", "--porcelain") == ""
    assert snapshot(toy) == before


def test_edit_of_an_untouched_file_is_kept(toy: Path, porter: Porter) -> None:
    write_files(toy, {"README.md": "mine\n"})
    assert porter("goto", "0", toy).code == 0
    assert (toy / "README.md").read_text() == "mine\n"


def test_edit_in_the_way_is_refused_by_name_and_kept(toy: Path, porter: Porter) -> None:
    write_files(toy, {"pkg/a.py": "mine\n"})
    before = snapshot(toy)
    ran = porter("prev", toy)
    assert ran.code == 1
    assert "local edits in pkg/a.py" in ran.err
    assert "--keep" in ran.err
    assert (snapshot(toy), head(toy)) == (before, "Drop the old file")


def test_deleted_file_comes_back_where_the_level_changes_it_and_else_stays_away(
    toy: Path, porter: Porter
) -> None:
    for name in ("pkg/a.py", "README.md"):
        (toy / name).unlink()
    assert porter("prev", toy).code == 0
    assert head(toy) == "Add a new file"
    assert (toy / "pkg" / "a.py").read_text() == sealed_git(toy, "show", "HEAD:pkg/a.py")
    assert sealed_git(toy, "status", "--porcelain") == " D README.md\n"


def test_file_in_place_of_a_folder_that_the_level_changes_is_kept(
    toy: Path, porter: Porter
) -> None:
    porter("goto", "2", toy)
    shutil.rmtree(toy / "pkg")
    write_files(toy, {"pkg": "mine\n"})
    ran = porter("prev", toy)
    assert (ran.code, "local edits in pkg/b.py" in ran.err) == (1, True)
    assert ((toy / "pkg").read_text(), head(toy)) == ("mine\n", "Add a new file")


@pytest.mark.parametrize("name", ["pkg/old.py", "pkg/new.py"])
def test_untracked_file_in_the_way_is_refused(toy: Path, porter: Porter, name: str) -> None:
    porter("goto", "1" if name == "pkg/new.py" else "3", toy)
    write_files(toy, {name: "mine\n"})
    ran = porter("goto", "2", toy, "--keep")
    assert ran.code == 1
    assert f"would overwrite untracked files: {name};" in ran.err
    assert (toy / name).read_text() == "mine\n"


def test_ignored_file_in_the_way_is_refused_too(toy: Path, porter: Porter) -> None:
    (toy / ".git" / "info" / "exclude").write_text("old.py\n")
    write_files(toy, {"pkg/old.py": "mine, ignored\n"})
    assert porter("prev", toy).code == 1
    assert (toy / "pkg" / "old.py").read_text() == "mine, ignored\n"


def test_keep_merges_an_edit_into_the_other_level(toy: Path, porter: Porter) -> None:
    text = (toy / "pkg" / "a.py").read_text()
    write_files(toy, {"pkg/a.py": text.replace("a15 = 15", "a15 = 'mine'")})
    ran = porter("goto", "0", toy, "--keep")
    assert (ran.code, "carried along: pkg/a.py" in ran.out) == (0, True)
    assert (toy / "pkg" / "a.py").read_text() == replaced(A_LINES, 15, "a15 = 'mine'\n")
    assert sealed_git(toy, "status", "--porcelain") == " M pkg/a.py\n"


def test_keep_carries_staged_edits_staged(toy: Path, porter: Porter) -> None:
    text = (toy / "pkg" / "a.py").read_text()
    write_files(toy, {"pkg/a.py": text.replace("a15 = 15", "a15 = 'staged'")})
    sealed_git(toy, "add", "pkg/a.py")
    write_files(
        toy, {"pkg/a.py": (toy / "pkg/a.py").read_text().replace("a20 = 20", "a20 = 'not'")}
    )
    assert porter("goto", "0", toy, "--keep").code == 0
    assert sealed_git(toy, "status", "--porcelain") == "MM pkg/a.py\n"
    assert "a20 = 20" in sealed_git(toy, "show", ":pkg/a.py")
    assert "a15 = 'staged'" in sealed_git(toy, "show", ":pkg/a.py")


def test_keep_there_and_back_restores_the_edit(toy: Path, porter: Porter) -> None:
    text = (toy / "pkg" / "a.py").read_text()
    write_files(toy, {"pkg/a.py": text.replace("a15 = 15", "a15 = 'mine'"), "pkg/own.py": "own\n"})
    before = snapshot(toy)
    assert porter("goto", "0", toy, "--keep").code == 0
    assert porter("goto", "3", toy, "--keep").code == 0
    assert snapshot(toy) == before


def test_conflict_of_keep_leaves_everything_as_it_was(toy: Path, porter: Porter) -> None:
    text = (toy / "pkg" / "a.py").read_text()
    write_files(toy, {"pkg/a.py": text.replace("'thirty'", "'mine'"), "pkg/b.py": "mine too\n"})
    before, index = snapshot(toy), (toy / ".git" / "index").read_bytes()
    ran = porter("prev", toy, "--keep")
    assert ran.code == 1
    assert "pkg/a.py conflict with level 2 (add-new); nothing was changed" in ran.err
    assert (snapshot(toy), head(toy)) == (before, "Drop the old file")
    assert (toy / ".git" / "index").read_bytes()[:12] == index[:12]
    assert sealed_git(toy, "status", "--porcelain") == " M pkg/a.py\n M pkg/b.py\n"


def test_index_left_by_a_killed_git_is_no_obstacle(toy: Path, porter: Porter) -> None:
    state = toy / ".git" / "porter"
    for name in ("index", "index.lock"):
        (state / name).write_bytes(b"DIRC")
    text = (toy / "pkg" / "a.py").read_text()
    write_files(toy, {"pkg/a.py": text.replace("a15 = 15", "a15 = 'mine'")})
    ran = porter("goto", "0", toy, "--keep")
    assert (ran.code, "carried along: pkg/a.py" in ran.out) == (0, True), ran.err
    assert not {path.name for path in state.iterdir()} & {"index", "index.lock"}


def test_commit_of_ones_own_is_not_left_behind(toy: Path, porter: Porter) -> None:
    write_files(toy, {"README.md": "mine\n"})
    sealed_git(toy, "commit", "--quiet", "-am", "Mine alone")
    ran = porter("prev", toy)
    assert ran.code == 1
    assert "Mine alone" in ran.err
    assert "`porter refresh`" in ran.err
    sealed_git(toy, "branch", "mine")
    assert porter("goto", "0", toy).code == 0
    assert sealed_git(toy, "log", "-1", "--format=%s", "mine") == "Mine alone\n"


def test_branch_stays_where_it_was(toy: Path, porter: Porter) -> None:
    sealed_git(toy, "switch", "--quiet", "--create", "work")
    ran = porter("prev", toy)
    assert (ran.code, "branch work stays" in ran.out) == (0, True)
    assert sealed_git(toy, "log", "-1", "--format=%s", "work") == "Drop the old file\n"


def test_unfinished_merge_is_refused(toy: Path, porter: Porter) -> None:
    (toy / ".git" / "MERGE_HEAD").write_text("0" * 40 + "\n")
    ran = porter("prev", toy)
    assert (ran.code, "a merge is in progress" in ran.err) == (1, True)


def test_foreign_index_lock_is_explained(toy: Path, porter: Porter) -> None:
    (toy / ".git" / "index.lock").write_bytes(b"")
    ran = porter("prev", toy)
    assert ran.code == 1
    assert "index.lock" in ran.err
    assert "delete this file" in ran.err


def test_variables_of_a_hook_do_not_reach_git(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert porter("prev", toy).code == 0
    assert not (tmp_path / "index").exists()


def test_hooks_of_the_user_do_not_run(toy: Path, porter: Porter, tmp_path: Path) -> None:
    write_files(tmp_path / "hooks", {"hook.sh": f"#!/bin/sh\ntouch {tmp_path}/ran\n"})
    (tmp_path / "hooks" / "hook.sh").rename(tmp_path / "hooks" / "post-checkout")
    sealed_git(toy, "config", "core.hooksPath", str(tmp_path / "hooks"))
    assert porter("prev", toy).code == 0
    assert not (tmp_path / "ran").exists()


def test_changed_series_is_followed(toy: Path, porter: Porter, project: Path) -> None:
    patch = project / "patches" / "toy" / "0002-add-new.patch"
    patch.write_text(patch.read_text().replace("Gains: a level", "Gains: another level"))
    assert "series has changed" in porter("status", toy).out
    ran = porter("prev", toy)
    assert (ran.code, "levels rebuilt" in ran.err) == (0, True)
    assert "Gains: another level" in sealed_git(toy, "log", "-1", "--format=%B")
    assert porter("next", toy).code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_no_tree_here_says_how_to_get_one(project: Path, porter: Porter, tmp_path: Path) -> None:
    ran = porter("next")
    assert ran.code == 2
    assert "not a tree of porter's" in ran.err
    assert "porter apply" in ran.err
    assert "no such folder" in porter("next", tmp_path / "none").err


def test_work_on_an_earlier_pin_survives_moves_of_the_pin(
    toy: Path, project: Path, upstreams: Upstreams, porter: Porter
) -> None:
    first = commit_of_ones_own(toy, "On the first pin")
    sealed_git(toy, "branch", "first")
    for name, text in (("second", "newer\n"), ("third", "newest\n")):
        move_pin(project, upstreams, {"README.md": text})
        assert porter("goto", "0", toy).code == 0
        assert head(toy) == "The next pin"
        commit_of_ones_own(toy, f"On the {name} pin")
        ran = porter("goto", "0", toy)
        assert (ran.code, "`git branch NAME` keeps them" in ran.err) == (1, True), ran.err
        sealed_git(toy, "branch", name)
        assert porter("goto", "1", toy).code == 0
    assert sealed_git(toy, "rev-parse", "first").strip() == first
    for name, levels in (("first", 4), ("second", 1), ("third", 1)):
        assert sealed_git(toy, "log", "--format=%s", name).count("\n") == levels + 1
    assert "missing" not in sealed_git(toy, "fsck", "--connectivity-only")
    sealed_git(toy, "gc", "--quiet")
    assert sealed_git(toy, "show", "first:pkg/own.py") == "own\n"


def test_history_that_is_missing_is_no_reason_to_reach_for_the_network(
    toy: Path, project: Path, upstreams: Upstreams, porter: Porter, tmp_path: Path
) -> None:
    commit_of_ones_own(toy, "On the first pin")
    sealed_git(toy, "branch", "first")
    move_pin(project, upstreams, {"README.md": "newer\n"})
    assert porter("goto", "0", toy).code == 0
    commit_of_ones_own(toy, "Mine alone")
    (toy / ".git" / "shallow").write_text(sealed_git(toy, "rev-parse", "HEAD~1"))
    trace = tmp_path / "trace"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GIT_TRACE", str(trace))
        ran = porter("goto", "0", toy)
    assert (ran.code, "Mine alone" in ran.err) == (1, True), ran.err
    assert "git-upload-pack" not in trace.read_text()


def commit_of_ones_own(tree: Path, subject: str) -> str:
    write_files(tree, {"pkg/own.py": "own\n"})
    sealed_git(tree, "add", ".")
    sealed_git(tree, "commit", "--quiet", "-m", subject)
    return sealed_git(tree, "rev-parse", "HEAD").strip()
