"""``porter apply``: the new tree, and folders where none may be made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.small_project import LEVELS, sealed_git, snapshot, write_files
from tests.tree.conftest import Porter, head


def test_history_of_a_tree_is_its_levels(toy: Path) -> None:
    subjects = sealed_git(toy, "log", "--format=%s").splitlines()
    assert subjects == ["Drop the old file", "Add a new file", "Widen a", "The pinned commit"]
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_only_wanted_files_appear(toy: Path) -> None:
    assert not (toy / "media").exists()
    assert (toy / "tools" / "run.sh").stat().st_mode & 0o111
    assert (toy / "pkg" / "new.py").read_text() == "new = 1\n"


def test_submodule_is_populated_at_its_pin(toy: Path) -> None:
    assert (toy / "LIB" / "lib.py").read_text() == "lib = 1\n"
    assert sealed_git(toy, "submodule", "status").startswith(" ")


def test_companion_appears_beside_the_tree(toy: Path, porter: Porter) -> None:
    assert (toy.parent / "mate" / "mate.py").read_text() == "mate = 2\n"
    assert head(toy.parent / "mate") == "Make it two"


def test_companion_is_left_out_when_asked(project: Path, porter: Porter, tmp_path: Path) -> None:
    assert porter("apply", "toy", tmp_path / "w" / "t", "--alone").code == 0
    assert not (tmp_path / "w" / "mate").exists()


def test_companion_that_is_there_stays_at_its_level(toy: Path, porter: Porter) -> None:
    porter("goto", "0", toy.parent / "mate")
    ran = porter("apply", "toy", toy.parent / "second")
    assert ran.code == 0
    assert "left as it is" in ran.out
    assert (toy.parent / "mate" / "mate.py").read_text() == "mate = 1\n"


@pytest.mark.parametrize(
    ("text", "subject"),
    [("1", "Widen a"), ("add", "Add a new file"), ("upstream", "The pinned commit")],
)
def test_level_is_named_by_number_prefix_or_name(
    project: Path, porter: Porter, tmp_path: Path, text: str, subject: str
) -> None:
    assert porter("apply", "toy", tmp_path / "t", "--level", text, "--alone").code == 0
    assert head(tmp_path / "t") == subject


def test_levels_keep_their_ids_in_every_tree(toy: Path, porter: Porter, tmp_path: Path) -> None:
    porter("apply", "toy", tmp_path / "again" / "toy")
    ids = [sealed_git(folder, "log", "--format=%H") for folder in (toy, tmp_path / "again" / "toy")]
    assert ids[0] == ids[1]


def test_default_folder_is_in_the_project(project: Path, porter: Porter) -> None:
    assert porter("apply", "mate").code == 0
    assert (project / "trees" / "mate" / "mate.py").exists()


def test_empty_folder_is_taken(project: Path, porter: Porter, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert porter("apply", "mate", tmp_path / "empty").code == 0


def refused(porter: Porter, *args: str | Path) -> str:
    """Run, expect a refusal of one line, and return it."""
    ran = porter(*args)
    assert ran.code in (1, 2)
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    return ran.err


def test_tree_at_its_last_level_stays_and_what_is_missing_beside_it_is_made(
    toy: Path, porter: Porter
) -> None:
    shutil.rmtree(toy.parent / "mate")
    before = snapshot(toy)
    ran = porter("apply", "toy", toy)
    assert (ran.code, "level 3 of 3: drop-old (already there)" in ran.out) == (0, True)
    assert snapshot(toy) == before
    assert (toy.parent / "mate" / "mate.py").read_text() == "mate = 2\n"


def test_tree_at_another_level_says_which(toy: Path, porter: Porter) -> None:
    porter("prev", toy)
    text = refused(porter, "apply", "toy", toy)
    assert "already a tree of toy, at level 2 (add-new)" in text
    assert "porter goto" in text


def test_tree_of_the_port_moves_to_a_named_level(toy: Path, porter: Porter) -> None:
    assert porter("apply", "toy", toy, "--level", "1").code == 0
    assert head(toy) == "Widen a"
    assert "already there" in porter("apply", "toy", toy, "--level", "1").out


def test_tree_of_another_port_is_refused(toy: Path, porter: Porter) -> None:
    assert "a tree of toy; choose another folder for mate" in refused(porter, "apply", "mate", toy)


def test_foreign_repository_is_refused(project: Path, porter: Porter, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    sealed_git(tmp_path / "own", "init", "--quiet")
    assert "porter did not make" in refused(porter, "apply", "mate", tmp_path / "own")


def test_folder_with_files_is_refused_by_name(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    write_files(tmp_path / "full", {"mine.txt": "keep me\n"})
    assert "mine.txt" in refused(porter, "apply", "mate", tmp_path / "full")
    assert snapshot(tmp_path / "full") == {"mine.txt": "keep me\n"}


def test_file_at_that_path_is_refused(project: Path, porter: Porter, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "a file; expected" in refused(porter, "apply", "mate", tmp_path / "file")


def test_folder_inside_another_repository_is_refused_unless_ignored(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    sealed_git(outer, "init", "--quiet")
    assert "inside the git repository" in refused(porter, "apply", "mate", outer / "sub" / "mate")
    write_files(outer, {".gitignore": "sub/\n"})
    assert porter("apply", "mate", outer / "sub" / "mate").code == 0


@pytest.mark.parametrize("name", ["work", "a b*", "it's", "[x] ", "!#"])
def test_the_line_in_the_message_makes_the_repository_ignore_the_folder(
    project: Path, porter: Porter, tmp_path: Path, name: str
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    sealed_git(outer, "init", "--quiet")
    said = refused(porter, "apply", "mate", outer / name)
    (line,) = re.findall(r"`(echo .*)`", said)
    subprocess.run(line, shell=True, check=True, cwd=tmp_path)
    assert porter("apply", "mate", outer / name).code == 0
    assert sealed_git(outer, "status", "--porcelain") == "?? .gitignore\n"


def test_folder_inside_a_tree_is_refused(toy: Path, porter: Porter) -> None:
    assert "a tree of toy; choose a folder outside" in refused(porter, "apply", "mate", toy / "x")


def test_foreign_folder_at_the_companions_path_stops_everything(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    write_files(tmp_path / "w" / "mate", {"mine.txt": "x\n"})
    assert "--alone omits it" in refused(porter, "apply", "toy", tmp_path / "w" / "toy")
    assert not (tmp_path / "w" / "toy").exists()


def test_unknown_port_and_level_suggest_the_near_one(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    assert "did you mean 'toy'" in refused(porter, "apply", "toi", tmp_path / "t")
    text = refused(porter, "apply", "toy", tmp_path / "t", "--level", "widn")
    assert "did you mean 'widen-a'" in text
    assert not (tmp_path / "t").exists()


def test_failure_while_making_a_tree_leaves_no_folder(
    project: Path, porter: Porter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("porter.tree.populate.checkout_first", fail)
    assert "No space left" in refused(porter, "apply", "mate", tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_tree_survives_the_loss_of_the_store(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    write_files(toy, {"README.md": "mine\n"})
    shutil.rmtree(os.environ["PORTER_CACHE"])
    ran = porter("prev", toy)
    assert (ran.code, head(toy)) == (0, "Add a new file")
    assert "fetched the upstream again" in ran.err
    assert (toy / "README.md").read_text() == "mine\n"


def test_git_itself_is_content_with_a_tree(toy: Path) -> None:
    sealed_git(toy, "fsck", "--no-dangling")
    sealed_git(toy, "gc", "--quiet")
    assert len(sealed_git(toy, "log", "--stat", "--format=%H")) > 0


def test_levels_have_refs(toy: Path, porter: Porter) -> None:
    refs = sealed_git(toy, "for-each-ref", "--format=%(refname)", "refs/porter").split()
    assert refs == [
        f"refs/porter/levels/{n:04d}-{name}" for n, name in enumerate(("upstream", *LEVELS))
    ]
    value = json.loads(porter("log", toy, "--json").out)
    assert [level["name"] for level in value["levels"]] == ["upstream", *LEVELS]


def test_collection_leaves_what_a_tree_needs(toy: Path, porter: Porter) -> None:
    assert porter("gc", "--now").code == 0
    for level in ("0", "3"):
        assert porter("goto", level, toy).code == 0
        assert sealed_git(toy, "status", "--porcelain") == ""
    sealed_git(toy / "LIB", "cat-file", "-e", "HEAD:lib.py")
