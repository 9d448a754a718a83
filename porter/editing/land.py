"""Bring a tree onto a level of the series that was just written, without touching equal files."""

from __future__ import annotations

from collections.abc import Callable

from porter.git.objects import Oid
from porter.tree.journal import Files, drop_merge_index, stage_files
from porter.tree.move import move
from porter.tree.populate import refresh
from porter.tree.tree import Tree, TreeLevel, read_head, shown
from porter.tree.treelock import TreeLock


def read_files(tree: Tree) -> Files:
    """Write the work tree's tracked files, and the index, as trees; neither is changed.

    The tree's lock must be held.
    """
    try:
        return stage_files(tree, leave_out=tree.record.submodules)
    finally:
        drop_merge_index(tree)


def land(
    tree: Tree,
    lock: TreeLock,
    level: str,
    what: str,
    ended: Callable[[Tree], None] | None = None,
) -> tuple[Tree, TreeLevel]:
    """Rebuild a tree's levels and bring it to ``level``, or to the last level without one.

    Files that are the level's already stay as they are. A change that stopped at a conflict has
    HEAD on commits of its own: HEAD goes to the level that they are before ``ended`` forgets the
    change, so that a kill leaves the tree at a level. Raises LocalEdits when edits are in the way;
    HEAD then stays where it was.
    """
    fresh = refresh(tree)
    levels = fresh.record.levels
    if ended is not None:
        _stand_on_level(fresh, what)
        ended(fresh)
    wanted = [each for each in levels if each.name == level]
    target = wanted[0] if wanted else [each for each in levels if not each.off][-1]
    head, branch = read_head(fresh)
    same = fresh.git("rev-parse", "HEAD^{tree}").text == target.tree
    if same and branch is None and head != target.commit:  # edits on top of it stay
        fresh.git("update-ref", "--no-deref", "-m", f"porter: {what}", "HEAD", target.commit)
    elif not same and read_files(fresh).work == target.tree:
        place_head(fresh, target.commit, what)
    elif not same:
        move(fresh, lock, target, what, lost=True)
    return fresh, target


def _stand_on_level(tree: Tree, what: str) -> None:
    """Let HEAD be the highest level with HEAD's own files, if there is one."""
    files = tree.git("rev-parse", "HEAD^{tree}").text
    if same := [level for level in tree.record.levels if level.tree == files]:
        reason = f"porter: {what}"
        tree.git("update-ref", "--no-deref", "-m", reason, "HEAD", same[-1].commit)


def place_head(tree: Tree, commit: Oid, what: str) -> None:
    """Detach HEAD at a commit whose files the work tree holds, with the commit's index.

    `git reset` writes the index before HEAD: after a kill in between the files are staged edits.
    """
    reason = f"porter: {what}"
    here = tree.git("rev-parse", "HEAD").text
    tree.git("update-ref", "--no-deref", "-m", reason, "HEAD", here)  # off its branch
    tree.git("reset", "--mixed", "--quiet", commit, env={"GIT_REFLOG_ACTION": reason})


def refuse_edits(tree: Tree, what: str) -> None:
    """Raise LocalEdits when tracked files are edited: ``what`` would mix them with its own."""
    from porter.errors import LocalEdits
    from porter.tree.tree import edits, listed_paths

    if found := [edit.path for edit in edits(tree, untracked=False)]:
        raise LocalEdits(
            f"{shown(tree.folder)}: local edits in {listed_paths(found)}; `porter refresh` or"
            f" `git stash` them before `porter {what}`"
        )
