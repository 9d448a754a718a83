"""Whatever stops porter or git half-way, the tree ends at one level and keeps its edits."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.small_project import sealed_git, snapshot, write_files
from tests.tree.conftest import Porter, head, porter_process

WIDE = 400
"""Files that a level of the wide series rewrites: enough that a kill falls between two of them."""


def journal(tree: Path, start: str, target: str) -> None:
    """Write the journal of a move from one level to another."""
    ids = [sealed_git(tree, "rev-parse", f"{name}^{{commit}}").strip() for name in (start, target)]
    value = {"what": "goto x", "head_from": ids[0], "head_to": ids[1]}
    value |= {
        f"{part}_{end}": ids[n]
        for part in ("work", "index")
        for n, end in enumerate(("from", "to"))
    }
    (tree / ".git" / "porter" / "move.json").write_text(json.dumps(value))


def test_half_written_files_go_back(toy: Path, porter: Porter) -> None:
    before = snapshot(toy)
    journal(toy, "HEAD", "HEAD~1")
    new = sealed_git(toy, "show", "HEAD~1:pkg/a.py")
    write_files(toy, {"pkg/a.py": new[: len(new) // 2], "pkg/old.py": ""})
    (toy / ".git" / "index.lock").write_bytes(b"DIRC")
    ran = porter("status", toy)
    assert (ran.code, "`porter goto x` was undone" in ran.err) == (0, True)
    assert (snapshot(toy), head(toy)) == (before, "Drop the old file")
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_removed_files_come_back(toy: Path, porter: Porter) -> None:
    before = snapshot(toy)
    journal(toy, "HEAD", "HEAD~2")
    (toy / "pkg" / "new.py").unlink()
    (toy / "pkg" / "b.py").unlink()
    assert porter("status", toy).code == 0
    assert snapshot(toy) == before


def test_move_killed_before_head_moved_is_finished(toy: Path, porter: Porter) -> None:
    journal(toy, "HEAD", "HEAD~1")
    sealed_git(toy, "read-tree", "-m", "-u", "HEAD", "HEAD~1")
    (toy / ".git" / "HEAD.lock").write_bytes(b"")
    ran = porter("status", toy)
    assert "was finished" in ran.err
    assert head(toy) == "Add a new file"
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_edit_made_after_the_crash_is_kept_and_named(toy: Path, porter: Porter) -> None:
    journal(toy, "HEAD", "HEAD~1")
    write_files(toy, {"pkg/a.py": "written after the crash\n", "pkg/old.py": "gone"})
    ran = porter("status", toy)
    assert "edits made since then are kept in pkg/a.py" in ran.err
    assert (toy / "pkg" / "a.py").read_text() == "written after the crash\n"
    assert not (toy / "pkg" / "old.py").exists()


def test_file_put_in_place_of_a_folder_after_the_crash_is_kept_and_named(
    toy: Path, porter: Porter
) -> None:
    journal(toy, "HEAD", "HEAD~1")
    shutil.rmtree(toy / "pkg")
    write_files(toy, {"pkg": "mine\n"})
    ran = porter("status", toy)
    assert "edits made since then are kept in pkg\n" in ran.err
    assert (toy / "pkg").read_text() == "mine\n"


def test_journal_of_a_move_that_ended_is_dropped(toy: Path, porter: Porter) -> None:
    journal(toy, "HEAD~1", "HEAD")
    assert porter("next", toy).code == 1
    assert not (toy / ".git" / "porter" / "move.json").exists()


def test_file_that_cannot_be_written_leaves_the_tree_as_it_was(toy: Path, porter: Porter) -> None:
    porter("goto", "0", toy)
    write_files(toy, {"README.md": "mine\n"})
    before = snapshot(toy)
    size = (toy / "pkg" / "a.py").stat().st_size - 1

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    (toy / ".git" / "index").write_bytes((toy / ".git" / "index").read_bytes())
    done = subprocess.run(
        [*_command(), "goto", "1", str(toy)], preexec_fn=small_files_only, capture_output=True
    )
    assert done.returncode != 0
    assert porter("status", toy).code == 0
    assert (snapshot(toy), head(toy)) == (before, "The pinned commit")
    assert porter("goto", "1", toy).code == 0


def _command() -> list[str]:
    import sys

    return [sys.executable, "-m", "porter"]


def test_second_porter_waits_and_then_says_who_is_at_work(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porter.tree.treelock import TreeLock

    monkeypatch.setattr("porter.tree.treelock._PATIENCE", 0.1)
    with TreeLock(toy / ".git" / "porter", "goto 7"):
        ran = porter("prev", toy)
    assert ran.code == 1
    assert f"process {os.getpid()}: porter goto 7" in ran.err
    assert porter("prev", toy).code == 0


def test_moves_at_once_take_turns(toy: Path, porter: Porter) -> None:
    running = [porter_process("goto", str(number % 4), toy) for number in range(8)]
    for process in running:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert sealed_git(toy, "status", "--porcelain") == ""
    assert porter("status", toy).err == ""


def test_applies_at_once_make_one_tree(project: Path, porter: Porter, tmp_path: Path) -> None:
    running = [porter_process("apply", "mate", tmp_path / "t") for _ in range(4)]
    codes = []
    for process in running:
        process.communicate()
        codes.append(process.returncode)
    assert 0 in codes  # one that starts late finds the tree finished
    assert sealed_git(tmp_path / "t", "status", "--porcelain") == ""
    assert head(tmp_path / "t") == "Make it two"


@pytest.fixture
def wide(project: Path, porter: Porter, tmp_path: Path) -> Path:
    """A tree whose second level rewrites many files, made by exporting own commits."""
    folder = tmp_path / "wide"
    assert porter("apply", "mate", folder).code == 0
    for level, text in (("wide-one", "one"), ("wide-two", "two")):
        write_files(folder, {f"w/{n % 20}/{n}.txt": f"{text} {n}\n" * 40 for n in range(WIDE)})
        sealed_git(folder, "add", "w")
        fields = "Devices: hpu\nKeeps: k\nGains: g\nOrigin: o\nForwarded: no"
        sealed_git(
            folder, "commit", "-q", "-m", f"Wide {text}\n\nWhy.\n\nLevel: {level}\n{fields}\n"
        )
    assert porter("export", "mate", folder).code == 0
    return folder


def test_killed_at_any_moment_the_tree_is_at_one_level(wide: Path, porter: Porter) -> None:
    kill_moves(wide, porter, keep=True, whom="git", rounds=4)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("whom", ["porter", "git"])
def test_killed_at_many_moments_the_tree_is_at_one_level(
    wide: Path, porter: Porter, keep: bool, whom: str
) -> None:
    kill_moves(wide, porter, keep, whom, rounds=12)


def kill_moves(wide: Path, porter: Porter, keep: bool, whom: str, rounds: int) -> None:
    dice = random.Random(f"{keep} {whom}")
    write_files(wide, {"mate.py": "mine\n"})
    for number in range(rounds):
        here = head(wide)
        levels = {"Wide one": "wide-two", "Wide two": "wide-one"}
        name = "w/3/3.txt"
        if keep:
            write_files(wide, {name: (wide / name).read_text() + "mine too\n"})
        process = porter_process("goto", levels[here], wide, *(["--keep"] if keep else []))
        _wait_a_while(process, wide, dice, for_the_move=bool(number % 2))
        _kill(process, whom)
        process.communicate()
        assert porter("status", wide).code == 0
        assert_at_one_level(wide, {"mate.py", name} if keep else {"mate.py"})
        assert (wide / "mate.py").read_text() == "mine\n"
        if keep:
            assert (wide / name).read_text().endswith("mine too\n")
            sealed_git(wide, "checkout", "--quiet", "--", name)


def _wait_a_while(
    process: subprocess.Popen[bytes], tree: Path, dice: random.Random, for_the_move: bool
) -> None:
    """Wait a random time after the start of the process or of its move."""
    if for_the_move:
        journal = tree / ".git" / "porter" / "move.json"
        wait_until(lambda: journal.exists() or process.poll() is not None, "a move to begin")
    time.sleep(dice.uniform(0, 0.1) if for_the_move else dice.uniform(0.05, 0.35))


def _kill(process: subprocess.Popen[bytes], whom: str) -> None:
    children = []
    if whom == "git":
        listing = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = listing.read_text().split() if listing.exists() else []
    process.send_signal(signal.SIGKILL)
    for child in children:
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            pass


def assert_at_one_level(tree: Path, edited: set[str]) -> None:
    """Assert that HEAD, index and files agree except for the local edits."""
    assert not (tree / ".git" / "porter" / "move.json").exists()
    assert not (tree / ".git" / "index.lock").exists()
    rows = sealed_git(tree, "status", "--porcelain", "-z").split("\0")[:-1]
    assert {row[3:] for row in rows} <= edited, rows


@pytest.mark.parametrize("rounds", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_interrupt_at_any_moment_leaves_one_level(wide: Path, porter: Porter, rounds: int) -> None:
    dice = random.Random(3)
    for number in range(rounds):
        process = porter_process("goto", ("wide-one", "wide-two")[number % 2], wide)
        _wait_a_while(process, wide, dice, for_the_move=bool(number % 2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        # A shell sees 130 for both of the first two; 1 is Python interrupted while it started.
        codes = (130, -signal.SIGINT, 1 if b"porter: " not in err else 0)
        assert process.returncode in codes or not err, err
        assert porter("status", wide).code == 0
        assert_at_one_level(wide, set())


UNMAKE = """
import os, sys
from pathlib import Path
from porter.tree import populate

left, unlink, rmdir = int(sys.argv[2]), os.unlink, os.rmdir

def killed(remove):
    def removing(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return remove(*args, **kwargs)
    return removing

os.unlink, os.rmdir = killed(unlink), killed(rmdir)
populate._unmake(Path(sys.argv[1]), existed=False)
"""


@pytest.mark.slow
def test_a_clean_up_killed_at_any_deletion_is_carried_on_by_the_next_apply(
    toy: Path, porter: Porter
) -> None:
    record = toy / ".git" / "porter" / "tree.json"
    whole, code = snapshot(toy), 9
    deletions = 0
    while code == 9:
        record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
        command = [sys.executable, "-c", UNMAKE, str(toy), str(deletions)]
        code = subprocess.run(command, check=False).returncode

        ran = porter("apply", "toy", toy, "--alone")

        assert (ran.code, snapshot(toy)) == (0, whole), (
            deletions,
            ran.err,
            sealed_git(toy, "diff"),
        )
        assert sealed_git(toy, "status", "--porcelain") == ""
        deletions = deletions + 1 if deletions < 12 else deletions + 25
    assert deletions > 20


def test_an_unfinished_tree_that_was_edited_is_not_called_complete(
    toy: Path, porter: Porter
) -> None:
    record = toy / ".git" / "porter" / "tree.json"
    record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    edited = toy / "pkg" / "b.py"
    edited.write_text("mine\n")

    ran = porter("apply", "toy", toy, "--alone")

    assert (ran.code, "edited since: pkg/b.py" in ran.err) == (1, True), ran.err
    assert edited.read_text() == "mine\n"
    edited.unlink()
    assert porter("apply", "toy", toy, "--alone").code == 0
    assert sealed_git(toy, "status", "--porcelain") == ""


def test_locks_of_a_git_that_was_killed_with_porter_are_no_obstacle(
    toy: Path, porter: Porter
) -> None:
    git_dir = toy / ".git"
    left = [git_dir / name for name in ("index.lock", "HEAD.lock", "packed-refs.lock")]
    left.append(git_dir / "refs" / "porter" / "levels" / "0001-widen-a.lock")
    for lock in left:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    assert porter("goto", "widen-a", toy).code == 1  # a git of the user's may have it
    assert left[0].exists()
    (git_dir / "porter" / "lock").write_text("process 1: porter refresh".ljust(119) + "\n")
    assert porter("goto", "widen-a", toy).code == 0
    assert [lock for lock in left if lock.exists()] == []
    left[0].touch()
    assert porter("goto", "add-new", toy).code == 1
    assert left[0].exists()


def test_a_git_that_a_signal_ends_leaves_no_lock(
    toy: Path, porter: Porter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(
        '#!/bin/sh\nfor word; do case "$word" in checkout|update-index)\n'
        f'  touch "{toy}/.git/index.lock"; kill -9 $$;; esac; done\nexec {git} "$@"\n'
    )
    wrapper.chmod(0o755)
    with monkeypatch.context() as killed:
        killed.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
        ran = porter("goto", "widen-a", toy)
        assert (ran.code, "ended by SIGKILL" in ran.err) == (2, True), ran.err
    assert not (toy / ".git" / "index.lock").exists()
    assert porter("goto", "widen-a", toy).code == 0


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("move.json", '{"what": 1, "head_from": "--output=x", "head_to": 2}', "damaged"),
        ("edit.json", '{"what": 0.5}', "damaged"),
        ("tree.json", '{"version": 1, "levels": [{"number": 0}]}', "damaged"),
        ("tree.json", '{"version": 1, "levels": 5}', "damaged"),
        ("tree.json", '{"version": 1, "levels": ["x"], "complete": true}', "damaged"),
    ],
)
def test_a_damaged_record_is_named_in_one_line(
    toy: Path, porter: Porter, name: str, text: str, found: str
) -> None:
    (toy / ".git" / "porter" / name).write_text(text)
    assert porter("next", toy).code in (1, 2)
    ran = porter("refresh", toy, *(["--abort"] if name == "edit.json" else []))
    assert (ran.code in (1, 2), ran.err.count("\n")) == (True, 1), ran.err
    assert name in ran.err
    assert found in ran.err


@pytest.mark.slow
def test_apply_killed_at_any_moment_is_carried_on_by_the_next(
    project: Path, porter: Porter, tmp_path: Path
) -> None:
    dice = random.Random(5)
    for number in range(10):
        folder = tmp_path / f"t{number}"
        process = porter_process("apply", "toy", folder, "--alone")
        time.sleep(dice.uniform(0.1, 0.7))
        _kill(process, "git")
        process.communicate()
        ran = porter("apply", "toy", folder, "--alone")
        assert ran.code == 0, ran.err
        assert_at_one_level(folder, set())
        assert (folder / "LIB" / "lib.py").exists()
