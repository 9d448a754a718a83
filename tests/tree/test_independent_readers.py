"""Two other implementations, unidiff and GitPython, read the same patches and trees.

Neither shares code with porter or with the git program (GitPython reads objects through gitdb), so
a mistake that porter's reader and writer had in common would show here.
"""

from __future__ import annotations

from pathlib import Path

import git
import pytest
from unidiff import PatchSet

from porter.series.series import load_series
from tests.small_project import LEVELS
from tests.tree.conftest import REPOSITORY

PORTS = sorted(path.parent.name for path in REPOSITORY.glob("patches/*/0*.patch"))


@pytest.mark.parametrize("port", sorted(set(PORTS)))
def test_unidiff_counts_the_same_files_and_lines_in_every_patch(port: str) -> None:
    for patch in load_series(REPOSITORY, port).patches:
        ours = {
            file.paths[-1].decode(): (
                sum(line[:1] == b"+" for hunk in file.hunks for line in hunk.lines),
                sum(line[:1] == b"-" for hunk in file.hunks for line in hunk.lines),
            )
            for file in patch.files
        }

        theirs = {file.path: (file.added, file.removed) for file in PatchSet(patch.raw.decode())}

        assert ours == theirs
        assert ours


@pytest.mark.filterwarnings("ignore:GitDB is deprecated")
def test_gitpython_reads_every_level_of_a_tree_without_the_git_program(toy: Path) -> None:
    repo = git.Repo(toy, odbt=git.GitDB)

    commits = list(repo.iter_commits())

    levels = [line for commit in commits for line in str(commit.message).splitlines()]
    assert [line for line in levels if line.startswith("Level: ")] == [
        f"Level: {name}" for name in reversed(LEVELS)
    ]
    assert not repo.is_dirty(untracked_files=True)
    newest, *_, oldest = commits
    assert (newest.tree / "pkg" / "new.py").data_stream.read() == b"new = 1\n"
    assert "pkg/old.py" in {item.path for item in oldest.tree.traverse()}
    assert "pkg/old.py" not in {item.path for item in newest.tree.traverse()}
