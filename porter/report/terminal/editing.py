"""Changes of a series on the terminal: patch files, where the tree is, the log of states."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from porter.report.terminal.tree import level_line, report_notes
from porter.terminal import colour_wanted, emit, emit_json, table
from porter.tree.tree import shown

if TYPE_CHECKING:
    from porter.editing.exporting import GivenOut
    from porter.editing.history import History, Restored
    from porter.editing.refresh import Changed
    from porter.editing.session import EditSession
    from porter.tree.locked import LockedTree

_STYLES = {"new": "green", "rewritten": "yellow", "removed": "red"}


def report_change(
    held: LockedTree | None, done: Changed, *, as_json: bool, notes: Sequence[str] = ()
) -> int:
    """Print what became of each patch and where the tree is now; return the exit code."""
    report_notes((*(held.notes if held else ()), *notes, *done.published.notes))
    patches = done.published.patches
    if as_json:
        rows = [{"patch": each.name, "status": each.what} for each in patches]
        emit_json(rows)
        return 0
    colour = colour_wanted()
    styles = [_STYLES.get(each.what, "dim") for each in patches]
    lines = table([(e.what, e.name) for e in patches], row_styles=styles, colour=colour)
    if done.tree is not None and done.level is not None:
        last = len(done.tree.record.levels) - 1
        lines.append(f"{shown(done.tree.folder)}: {level_line(done.level, last, colour)}")
    emit(lines)
    return 0


def report_given_out(given: GivenOut, *, as_json: bool) -> int:
    """Print what was given out, and where."""
    report_notes(given.notes)
    emit_json({"what": given.text, "notes": list(given.notes)}) if as_json else emit([given.text])
    return 0


def report_abort(held: LockedTree, state: EditSession) -> int:
    """Print that a change was given up."""
    report_notes(held.notes)
    emit([f"{shown(held.tree.folder)}: as before `porter {state.what}`"])
    return 0


def report_restored(done: Restored, note: str, *, as_json: bool) -> int:
    """Print which change was undone or made again, and the files that changed."""
    if as_json:
        emit_json({"what": done.what, "changed": list(done.changed), "notes": list(done.notes)})
        return 0
    word = {"undo": "undone", "redo": "made again"}.get(done.verb, "restored")
    lines = [f"{word}: {done.what}"]
    lines += table([("changed", path) for path in done.changed], colour=colour_wanted(), indent=2)
    emit([*lines, *done.notes, *([note] if note else [])])
    return 0


def report_log(history: History, *, as_json: bool) -> int:
    """Print the log of a series' states, the newest first; ``*`` marks the one that is there."""
    rows = history.entries()
    now = rows[0].at if rows else None
    if as_json:
        emit_json(
            [{"id": r.oid, "what": r.what, "seconds": r.seconds, "now": r.oid == now} for r in rows]
        )
        return 0
    if not rows:
        emit([f"{history.port}: no command has changed the series here yet"])
        return 0
    cells = [
        ("*" if row.oid == now else "", row.oid[:10], _when(row.seconds), row.what) for row in rows
    ]
    emit(table(cells, colour=colour_wanted()))
    return 0


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
