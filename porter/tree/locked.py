"""Holding a tree to move it: its lock, an interrupted move settled, its levels up to date."""

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
    """A tree under its lock. ``notes`` are what was found and mended on the way."""

    tree: Tree
    lock: TreeLock
    notes: tuple[str, ...] = ()


@contextmanager
def hold_tree(start: Path | str | None, what: str, *, rebuild: bool = True) -> Iterator[LockedTree]:
    """Hold the tree around ``start`` for the command ``what``.

    Levels are rebuilt when the series changed (unless ``rebuild`` is False), or when the store they
    borrow from is gone.
    """
    tree = find_tree(start)
    with TreeLock(tree.state_dir, what) as lock:
        tree = open_tree(tree.folder) or tree
        notes = []
        if not store_there(tree):
            tree = _refreshed(tree)
            notes.append("the store was gone: fetched the upstream again")
        if (settled := settle(tree, lock.fd)) is not None:
            notes.append(str(settled))
        if rebuild and series_changed(tree):
            tree = _refreshed(tree)
            notes.append("the series had changed: levels rebuilt")
        yield LockedTree(tree, lock, tuple(notes))


def _refreshed(tree: Tree) -> Tree:
    from porter.tree.populate import refresh

    return refresh(tree)


def store_there(tree: Tree) -> bool:
    """Return whether the objects that the tree borrows are where they were."""
    try:
        places = (tree.git_dir / "objects" / "info" / "alternates").read_bytes().splitlines()
    except FileNotFoundError:
        return False
    return all(Path(os.fsdecode(place)).is_dir() for place in places)


def settle_if_idle(tree: Tree) -> str | None:
    """Settle an interrupted move when no porter is at work; return the note, if any.

    For commands that only look: they do not wait for a lock that someone holds.
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
