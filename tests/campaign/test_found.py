"""Kills that the campaign found, each at its moment. Three are in every run of the tests."""

from __future__ import annotations

import random

import pytest

from tests.campaign.forked import Fault
from tests.campaign.jobs import JOBS, Job
from tests.campaign.judge import prepare
from tests.campaign.stage import Stage

BY_NAME = {job.name: job for job in JOBS}
FOUND = [
    # The series is written, the tree does not know it yet.
    ("refresh-continue", r"os.rename .*tree\.json"),
    ("rebase-continue", r"os.rename .*tree\.json"),
    # git's index is back, the change still in progress.
    ("refresh-abort", r"os.remove .*edit\.json"),
    ("rebase-abort", r"os.remove .*edit\.json"),
    # The pin is where levels.lock has it, for the time of the command.
    ("rebase-by-hand", r"os.mkdir .*-pins-"),
    ("rebase-by-hand", r"os.mkdir .*-export-"),
    # Half of the files are in place.
    ("add", r"os.rename .*upstream_pins\.yaml"),
    ("add", r"os.rename .*patches/more/series"),
    ("export", r"os.rename .*patches/toy/series"),
    # A file is written and not in place.
    ("lock", r"os.rename .*levels\.lock"),
    ("init", r"os.rename .*recipe\.schema\.json"),
    ("redo", r"os.rename .*\.git/porter/config"),
    # A new tree has its journal and no index, and its upstream has files that are not here.
    ("apply", r"subprocess.Popen .*'checkout'"),
    # HEAD is at the new level, the index at the old one.
    ("refresh", r"subprocess.Popen .*'reset'"),
    # A temporary folder.
    ("split", r"subprocess.Popen .*update-index.*--index-info"),
    ("refresh", r"os.rename .*patches/\.change/journal\.json"),
]


_ALWAYS = ("apply", "add", "refresh-abort")


@pytest.mark.parametrize(
    ("name", "moment"),
    [pytest.param(*one, marks=() if one[0] in _ALWAYS else pytest.mark.slow) for one in FOUND],
)
def test_a_kill_at_this_moment_leaves_one_of_two_states(
    base: Stage, name: str, moment: str
) -> None:
    judged = prepare(base, BY_NAME[name], "base")
    done = judged.type(Fault("kill", 1, match=moment))
    assert done.code == -9, f"there is no such moment any more: {done.words}"
    judged.recover(random.Random(1))


def test_a_kill_before_the_last_word_on_a_new_tree(base: Stage) -> None:
    """All files are there, and the record still says that they may not be."""
    judged = prepare(base, BY_NAME["apply"], "base")
    done = judged.type(Fault("kill", 2, match=r"os.rename .*tree\.json"))
    assert done.code == -9, f"there is no such moment any more: {done.words}"
    assert "was interrupted" in base.porter("status").err
    judged.recover(random.Random(1))


_GIVES_OUT = ("export-mbox", "export-diff", "export-quilt", "export-quilt-again")
"""They read the project alone, and leave the tree as it is."""
_IN_A_TREE = [job for job in JOBS if job.here == "tree" and job.name not in _GIVES_OUT]


@pytest.mark.slow
@pytest.mark.parametrize("job", _IN_A_TREE, ids=lambda job: job.name)
def test_every_command_deletes_the_lock_files_of_a_killed_one(base: Stage, job: Job) -> None:
    """A kill of porter and its git leaves the holder's line, and lock files of git's."""
    judged = prepare(base, job, "base")
    git = base.tree / ".git"
    (git / "porter" / "lock").write_text("process 4194305: porter goto".ljust(119) + "\n")
    for name in ("index", "HEAD", "refs/heads/given", "refs/porter/levels"):
        (git / name).parent.mkdir(exist_ok=True)
        (git / f"{name}.lock").touch()
    done = judged.type()
    judged.check_words(done)
    assert done.code == job.code, done.words
    assert (base.see_project(), base.see_tree()) == judged.after


def test_no_room_for_the_index_of_a_commit_leaves_one_of_two_states(base: Stage) -> None:
    """A git that git started is killed by the signal, and leaves its lock; nothing was empty."""
    judged = prepare(base, BY_NAME["import-continue"], "base")
    done = judged.type(Fault("small", 677))
    assert (done.code, "git cherry-pick: ended by SIGXFSZ" in done.err) == (2, True), done.words
    judged.recover(random.Random(1))
