"""``--keep``: carry local edits to another level by a 3-way merge, or change nothing.

The merge happens in the object database (``git merge-tree``): its base is the current level, its
sides are the files as they are and the new level. Only a merge without conflicts reaches the
folder. By then the old files are a tree object, so a crash half-way can always be undone
(:mod:`porter.tree.journal`). Staged edits are merged separately and stay staged.
"""

from __future__ import annotations

import os
from dataclasses import asdict

from porter.errors import CheckFailed, LocalEdits, PorterError
from porter.git.run import first_error, interrupts_deferred, need_merge_tree
from porter.tree.journal import (
    Journal,
    changes,
    drop_merge_index,
    end_move,
    merge_index,
    settle,
    stage_files,
    write_journal,
)
from porter.tree.submodules import follow, leave, relinked
from porter.tree.tree import Tree, TreeLevel, listed_paths, shown
from porter.tree.treelock import TreeLock

_AS_PORTER = ("user.name=porter", "user.email=porter@localhost", "commit.gpgSign=false")


def carry(tree: Tree, lock: TreeLock, start: str, target: TreeLevel, what: str) -> tuple[str, ...]:
    """Move to ``target`` with the local edits merged in; return the edited files that were merged.

    Raises LocalEdits naming the files in conflict; the tree is then exactly as it was.
    """
    need_merge_tree(
        tree.git, "--keep needs git {} or newer; `git stash` the edits, move, `git stash pop`"
    )
    index = merge_index(tree)
    submodules = relinked(tree, start, target.commit)
    try:
        files = stage_files(tree, lock=lock.fd)
        staged, stood = files.index, files.work
        base = tree.git("rev-parse", f"{start}^{{tree}}").text
        merged = _merge(tree, start, stood, target)
        merged_index = _merge(tree, start, staged, target) if staged != base else target.tree
        update = ("read-tree", "-m", "-u", stood, merged)
        journal = Journal(what, start, target.commit, stood, merged, staged, merged_index)
        with interrupts_deferred():
            write_journal(tree, asdict(journal))
            try:
                leave(submodules, lock.fd)
                rehearsed = tree.git(*update, "-n", index=index, check=False)
                if rehearsed.status != 0:
                    problem = first_error(rehearsed.err)
                    raise LocalEdits(f"{shown(tree.folder)}: {problem}; nothing was changed")
                tree.git(*update, index=index, lock=lock.fd)
                tree.git("read-tree", "-m", merged_index, index=index, lock=lock.fd)
                _publish_index(tree)
                form = ("update-ref", "--no-deref", "-m", f"porter: {what}")
                tree.git(*form, "HEAD", target.commit, lock=lock.fd)
                follow(submodules, lock.fd)
            except BaseException:
                settle(tree, lock.fd)
                raise
            end_move(tree)
    finally:
        drop_merge_index(tree)
    tree.git("update-index", "-q", "--refresh", check=False)
    touched = changes(tree, start, target.commit)
    return tuple(path for path in changes(tree, base, stood) if path in touched)


def _merge(tree: Tree, start: str, side: str, target: TreeLevel) -> str:
    """Return the tree of the 3-way merge of ``side`` and the target over ``start``."""
    own = [word for setting in _AS_PORTER for word in ("-c", setting)]
    ours, theirs = (
        tree.git(*own, "commit-tree", "-m", what, "-p", start, made).text
        for what, made in (("local edits", side), ("level", target.tree))
    )
    form = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages")
    merged = tree.git("-c", "merge.renames=true", *form, ours, theirs, check=False)
    rows = merged.fields()
    if merged.status == 0:
        return rows[0]
    if merged.status == 1:
        raise LocalEdits(
            f"{shown(tree.folder)}: local edits in {listed_paths(sorted(set(rows[1:])))} conflict"
            f" with level {target}; nothing was changed, commit or undo them first"
        )
    raise PorterError(f"{shown(tree.folder)}: git merge-tree: {first_error(merged.err)}")


def _publish_index(tree: Tree) -> None:
    """Replace git's index by the finished one, with git's own lock protocol."""
    own, lock = merge_index(tree), tree.git_dir / "index.lock"
    try:
        os.link(own, lock)
    except FileExistsError:
        raise CheckFailed(f"{shown(lock)}: another git command is running in this tree") from None
    lock.replace(tree.git_dir / "index")
