"""Lock a tree to move it: settle an interrupted move and bring its levels up to date."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter.tree.journal import journal_path, settle
from porter.tree.tree import Tree, find_tree, open_tree, series_changed
from porter.tree.treelock import TreeLock


@dataclass(frozen=True, slots=True)
class LockedTree:
    """A locked tree. ``notes`` say what was repaired first."""

    tree: Tree
    lock: TreeLock
    notes: tuple[str, ...] = ()


@contextmanager
def hold_tree(start: Path | str | None, what: str, *, rebuild: bool = True) -> Iterator[LockedTree]:
    """Lock the tree around ``start`` for the command ``what``.

    Levels are rebuilt when the series changed (unless ``rebuild`` is False), or when the store that
    the tree borrows from is gone.
    """
    tree = find_tree(start)
    with TreeLock(tree.state_dir, what) as lock:
        tree = open_tree(tree.folder) or tree
        notes = []
        if not store_there(tree):
            tree = _refreshed(tree)
            notes.append("the store was missing: fetched the upstream again")
        if (settled := settle(tree, lock.fd)) is not None:
            notes.append(str(settled))
        if rebuild and series_changed(tree):
            tree = _refreshed(tree)
            notes.append("the series changed: levels rebuilt" + _up_to(tree))
        yield LockedTree(tree, lock, tuple(notes))


def _up_to(tree: Tree) -> str:
    """Return where rebuilding the levels stopped, if it did."""
    if tree.record.broken is None:
        return ""
    return f" up to {tree.record.levels[-1]}, the next does not apply"


def _refreshed(tree: Tree) -> Tree:
    from porter.tree.populate import refresh

    return refresh(tree)


def store_there(tree: Tree) -> bool:
    """Return whether the object folders that the tree borrows from exist."""
    try:
        folders = (tree.git_dir / "objects" / "info" / "alternates").read_bytes().splitlines()
    except FileNotFoundError:
        return False
    return all(Path(os.fsdecode(folder)).is_dir() for folder in folders)


def settle_if_idle(tree: Tree) -> str | None:
    """Settle an interrupted move unless another porter holds the tree; return the note, if any.

    For read-only commands, which do not wait long for the lock.
    """
    if not journal_path(tree).exists():
        return None
    from porter.errors import CheckFailed

    try:
        with TreeLock(tree.state_dir, "settle", patience=2.0) as lock:
            settled = settle(tree, lock.fd)
            return str(settled) if settled else None
    except CheckFailed as busy:
        return str(busy)
