"""Replay commits on another base by git's 3-way merge, in the object database alone.

No file is touched: a commit that applies is a tree merged by ``git merge-tree``. The first one that
conflicts stops the replay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from porter.editing.stack import Commit, Git
from porter.errors import PorterError
from porter.git.objects import MODE_SUBMODULE, Oid
from porter.git.run import first_error, need_merge_tree
from porter.scratch import scratch_folder

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
    need_merge_tree(git, "changing a series needs git {} or newer")
    done: list[Commit] = []
    tip, tree = base, tree_of(git, base)
    absent = absent_files(git, tree, commits)
    for at, commit in enumerate(commits):
        parent = Oid(commit.parents[0])
        if parent == tip or tree_of(git, parent) == tree:
            merged = commit.tree
        else:
            merged, conflicts = merge(git, parent, tree, commit, absent)
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


def merge(
    git: Git, base: Oid, tree: Oid, commit: Commit, absent: Sequence[_Row] = ()
) -> tuple[Oid, tuple[str, ...]]:
    """Return the tree of the 3-way merge of ``tree`` and the commit over its parent ``base``.

    With it the paths that conflict; these files hold git's markers then. ``absent`` are files that
    git must not read (:func:`absent_files`).
    """
    merged, conflicts = _merge_trees(git, base, _changed(git, tree, absent, drop=True), commit)
    return _changed(git, merged, absent), conflicts


def _merge_trees(git: Git, base: Oid, tree: Oid, commit: Commit) -> tuple[Oid, tuple[str, ...]]:
    ours = make_commit(git, replace(commit, parents=(base,), tree=tree, message="ours\n"))
    form = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages")
    settings = [word for setting in _MERGE for word in ("-c", setting)]
    merged = git(*settings, *form, ours.oid, commit.oid, check=False)
    if merged.status not in (0, 1):
        raise PorterError(f"{commit}: git merge-tree: {first_error(merged.err)}")
    rows = merged.fields()
    return Oid(rows[0]), tuple(sorted(set(rows[1:]))) if merged.status else ()


@dataclass(frozen=True, slots=True)
class _Row:
    """An entry of a tree."""

    mode: str
    oid: str
    path: str


def absent_files(git: Git, tree: Oid, commits: Sequence[Commit]) -> tuple[_Row, ...]:
    """Return what ``tree`` adds to the commits' old base and no source has brought here.

    git would read these files to find renames, and older ones (before 2.50) cannot be told not to
    look for any. No commit touches them: of those that one does, git must say what it lacks.
    """
    if not commits or (old := tree_of(git, commits[0].parents[0])) == tree:
        return ()
    form = ("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=A")
    fields = git(*form, old, tree).fields()
    rows = [
        _Row(what.split()[1], what.split()[3], path)
        for what, path in zip(fields[::2], fields[1::2], strict=True)
    ]
    rows = [row for row in rows if int(row.mode, 8) != MODE_SUBMODULE]
    # Of git's commands rev-list alone never fetches what a partial clone lacks.
    walk = ("rev-list", "--objects", "--no-object-names", "--missing=print", tree)
    lacking = {line[1:] for line in git(*walk).text.splitlines() if line.startswith("?")}
    rows = [row for row in rows if row.oid in lacking]
    if not rows:
        return ()
    touched = touched_paths(git, commits)
    return tuple(row for row in rows if not touched & {row.path, *_folders(row.path)})


def touched_paths(git: Git, commits: Sequence[Commit]) -> set[str]:
    """Return the paths that commits change."""
    form = ("diff-tree", "-r", "-z", "--name-only", "--no-renames")
    changes = (git(*form, commit.parents[0], commit.tree) for commit in commits)
    return {path for change in changes for path in change.fields()}


def _folders(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:at]) for at in range(1, len(parts))}


def _changed(git: Git, tree: Oid, rows: Sequence[_Row], *, drop: bool = False) -> Oid:
    """Return ``tree`` with the entries ``rows``, or without them."""
    if not rows:
        return tree
    lines = (f"{'0' if drop else row.mode} {row.oid}\t{row.path}\0" for row in rows)
    with scratch_folder("merge") as folder:
        index = folder / "index"
        git("read-tree", tree, index=index)
        given = os.fsencode("".join(lines))
        git("update-index", "-z", "--index-info", stdin=given, index=index)
        return Oid(git("write-tree", "--missing-ok", index=index).text)
