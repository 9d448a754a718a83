"""The tree that follows when `porter undo` or `porter redo` restored a series."""

from __future__ import annotations

from collections.abc import Sequence

from porter.editing.history import Restored
from porter.editing.land import place_head, read_files
from porter.errors import PorterError
from porter.tree.locked import hold_tree
from porter.tree.move import move
from porter.tree.tree import TreeLevel, edits, position, shown, tree_around


def follow(start: str | None, port: str, done: Restored) -> str:
    """Let the tree around ``start``, if it is of ``port``, follow the series; return a note.

    It ends at the level it was at, by name, else by content, else at the nearest one below. An
    undone `refresh` or `new` leaves the files alone: what it put into the level is an edit again,
    which redoing it puts back. A tree with edits stays where it is.
    """
    tree = tree_around(start)
    if tree is None or tree.record.port != port:
        return ""
    was, old = position(tree).level, tree.record.levels
    if was is None:
        return ""
    try:
        with hold_tree(start, done.verb) as held:
            tree = held.tree
            level, where = _following(was, old, tree.record.levels), shown(tree.folder)
            work = read_files(tree).work
            if work not in (level.tree, was.tree):  # edits: those of the level that is back?
                level = {each.tree: each for each in tree.record.levels}.get(work, level)
            if position(tree).commit == level.commit:
                return ""
            if work == level.tree:
                place_head(tree, level.commit, done.verb)
                return f"{where}: at level {level}"
            if done.verb == "undo" and done.what.startswith(("refresh", "new ")):
                reason = f"porter: {done.verb}"
                tree.git("update-ref", "--no-deref", "-m", reason, "HEAD", level.commit)
                return f"{where}: at level {level}; its files stay, as edits"
            if edits(tree, untracked=False):
                return f"{where}: has edits, stays; `porter goto {level.name} --keep` moves them"
            move(tree, held.lock, level, done.verb, lost=True)
            return f"{where}: at level {level}"
    except PorterError as error:
        return f"the tree stays as it is: {error}"


def _following(was: TreeLevel, old: Sequence[TreeLevel], new: Sequence[TreeLevel]) -> TreeLevel:
    """Return the level of ``new`` that a tree at ``was``, of the levels ``old``, goes on at."""
    by_name = {level.name: level for level in new}
    by_tree = {level.tree: level for level in reversed(new)}
    if (found := by_name.get(was.name) or by_tree.get(was.tree)) is not None:
        return found
    below = [level.name for level in old if level.number < was.number]
    return next(by_name[name] for name in reversed(below) if name in by_name)
