"""What a move is told as."""

from __future__ import annotations

import sys

from porter.terminal import colour_wanted, counted, emit, listed, paint, readable
from porter.tree.locked import LockedTree
from porter.tree.move import Moved
from porter.tree.tree import TreeLevel, files_between


def level_line(level: TreeLevel, last: int, colour: bool) -> str:
    """Return "level 1 of 3: name"."""
    return f"level {level.number} of {last}: {paint(level.name, 'bold', colour)}"


def report_notes(notes: tuple[str, ...]) -> None:
    """Say on stderr what was mended on the way."""
    for note in notes:
        print(f"porter: {note}", file=sys.stderr)


def report_move(held: LockedTree, moved: Moved) -> None:
    """Print where the tree is now and what that took."""
    report_notes(held.notes)
    colour, target = colour_wanted(), moved.target
    levels = held.tree.record.levels
    start = moved.start
    line = level_line(target, len(levels) - 1, colour)
    if start.commit == target.commit:
        line += " (already there)"
    elif start.level is not None and not start.former and start.ahead == 0:
        files = files_between(levels, start.level.number, target.number)
        line += f" ({counted(len(files), 'file')})"
    lines = [line]
    if moved.carried:
        lines.append(f"edits carried along: {listed(map(readable, moved.carried))}")
    if start.branch is not None and start.commit != target.commit:
        lines.append(f"branch {start.branch} stays where it was, HEAD is detached")
    emit(lines)
