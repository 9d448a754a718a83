"""The tree that follows when `porter undo` or `porter redo` restored a series."""

from __future__ import annotations

from porter.editing.history import Restored
from porter.editing.land import place_head, read_files
from porter.errors import PorterError
from porter.tree.locked import hold_tree
from porter.tree.move import move
from porter.tree.tree import edits, position, shown, tree_around


def follow(start: str | None, port: str, done: Restored) -> str:
    """Let the tree around ``start``, if it is of ``port``, follow the series; return a note.

    An undone `refresh` leaves the files alone: what it put into the level is an edit again. A tree
    with edits stays where it is.
    """
    tree = tree_around(start)
    if tree is None or tree.record.port != port:
        return ""
    was = position(tree).level
    try:
        with hold_tree(start, done.verb) as held:
            tree = held.tree
            same = [each for each in tree.record.levels if was and each.name == was.name]
            if not same:
                return f"the tree stays at {was}: no such level any more" if was else ""
            level, where = same[0], shown(tree.folder)
            if position(tree).commit == level.commit:
                return ""
            work = read_files(tree).work
            if done.what.startswith("refresh") or work == level.tree:
                place_head(tree, level.commit, done.verb)
                left = "" if work == level.tree else "; its files stay, as edits"
                return f"{where}: at level {level}{left}"
            if edits(tree, untracked=False):
                return f"{where}: has edits, stays; `porter goto {level.name} --keep` moves them"
            move(tree, held.lock, level, done.verb, lost=True)
            return f"{where}: at level {level}"
    except PorterError as error:
        return f"the tree stays as it is: {error}"
