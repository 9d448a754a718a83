"""Replay commits on another base by git's 3-way merge, in the object database alone.

No file is touched: a commit that applies is a tree merged by ``git merge-tree``. The first one that
conflicts stops the replay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from porter.editing.stack import Commit, Git
from porter.errors import PorterError
from porter.git.objects import Oid
from porter.git.run import first_error

OLDEST_GIT = (2, 38)
_MERGE = ("merge.conflictStyle=merge", "merge.directoryRenames=false")


@dataclass(frozen=True, slots=True)
class Replay:
    """The new commits, and the commits from the first conflict on, with its paths."""

    base: Oid
    commits: tuple[Commit, ...]
    left: tuple[Commit, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def tip(self) -> Oid:
        return self.commits[-1].oid if self.commits else self.base


def replay(git: Git, base: Oid, commits: Sequence[Commit]) -> Replay:
    """Return ``commits`` replayed on the commit ``base``; they are commits of the repository.

    An unchanged commit stays as it is. Raises PorterError when git cannot merge at all.
    """
    _need_merge_tree(git)
    done: list[Commit] = []
    tip, tree = base, tree_of(git, base)
    for at, commit in enumerate(commits):
        parent = Oid(commit.parents[0])
        if parent == tip or tree_of(git, parent) == tree:
            merged = commit.tree
        else:
            merged, conflicts = merge(git, parent, tree, commit)
            if conflicts:
                return Replay(base, tuple(done), tuple(commits[at:]), conflicts)
        if commit.squash:
            made = make_commit(git, replace(done.pop(), tree=merged))
        else:
            made = make_commit(git, replace(commit, parents=(tip,), tree=merged))
        done.append(made)
        tip, tree = made.oid, merged
    return Replay(base, tuple(done))


def tree_of(git: Git, commit: str) -> Oid:
    return Oid(git("rev-parse", "--verify", f"{commit}^{{tree}}").text)


def make_commit(git: Git, commit: Commit) -> Commit:
    """Write a commit; return it with its id."""
    name, _, email = commit.author.rpartition(" <")
    who = {"NAME": name, "EMAIL": email.rstrip(">"), "DATE": commit.date}
    env = {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }
    words = [word for parent in commit.parents for word in ("-p", parent)]
    made = git("commit-tree", commit.tree, *words, stdin=commit.message.encode(), env=env)
    return replace(commit, oid=Oid(made.text))


def merge(git: Git, base: Oid, tree: Oid, commit: Commit) -> tuple[Oid, tuple[str, ...]]:
    """Return the tree of the 3-way merge of ``tree`` and the commit over its parent ``base``.

    With it the paths that conflict; these files hold git's markers then.
    """
    ours = make_commit(git, replace(commit, parents=(base,), tree=tree, message="ours\n"))
    form = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages")
    settings = [word for setting in _MERGE for word in ("-c", setting)]
    for renames in ("true", "false"):  # looking for renames may need files that are not here
        with_renames = ("-c", f"merge.renames={renames}")
        merged = git(*settings, *with_renames, *form, ours.oid, commit.oid, check=False)
        if merged.status in (0, 1):
            rows = merged.fields()
            return Oid(rows[0]), tuple(sorted(set(rows[1:]))) if merged.status else ()
    raise PorterError(f"{commit}: git merge-tree: {first_error(merged.err)}")


def _need_merge_tree(git: Git) -> None:
    found = re.search(r"(\d+)\.(\d+)", git("version").text)
    if found and (int(found[1]), int(found[2])) < OLDEST_GIT:
        raise PorterError(
            f"git {found[0]}: changing a series needs git {'.'.join(map(str, OLDEST_GIT))} or newer"
        )
