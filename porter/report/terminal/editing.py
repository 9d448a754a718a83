"""Changes of a series on the terminal: patch files, where the tree is, the log of states."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from porter.report.terminal.tree import level_line, report_notes
from porter.terminal import colour_wanted, counted, emit, emit_json, table
from porter.tree.tree import shown

if TYPE_CHECKING:
    from porter.editing.history import History, Restored
    from porter.editing.rebase import Rebased
    from porter.editing.refresh import Changed
    from porter.editing.session import EditSession
    from porter.exchange.exporting import GivenOut
    from porter.tree.locked import LockedTree

_STYLES = {"new": "green", "rewritten": "yellow", "updated": "yellow", "removed": "red"}
_MOST_FILES = 7


def report_change(
    held: LockedTree | None, done: Changed, *, as_json: bool, notes: Sequence[str] = ()
) -> int:
    """Print what became of each patch and where the tree is now; return the exit code."""
    into = f"{'compared with' if done.published.checked else 'written to'} {done.published.folder}"
    report_notes((*(held.notes if held else ()), *notes, *done.published.notes))
    patches = done.published.patches
    if as_json:
        rows = [
            {"patch": each.name, "status": each.what, **({"was": each.was} if each.was else {})}
            for each in patches
        ]
        report_notes((into,))
        emit_json(rows)
        return 0
    colour = colour_wanted()
    cells = [(e.what, e.name + (f" (was {e.was})" if e.was else "")) for e in patches]
    others = [path for path in done.published.changed if not path.startswith("patches/")]
    cells += [("updated", text) for text in _by_folder(others)]
    styles = [_STYLES.get(what, "dim") for what, _ in cells]
    lines = table(cells, row_styles=styles, colour=colour)
    lines.append(into)
    if done.tree is not None and done.level is not None:
        last = len(done.tree.record.levels) - 1
        lines.append(f"{shown(done.tree.folder)}: {level_line(done.level, last, colour)}")
    emit(lines)
    return 0


def _by_folder(paths: Sequence[str]) -> list[str]:
    """Return the paths, those of a folder with many of them as one line."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    found = []
    for folder, inside in folders.items():
        several = len(inside) > _MOST_FILES
        found += [f"{folder}/ ({counted(len(inside), 'file')})"] if several else inside
    return found


def report_given_out(given: GivenOut, *, as_json: bool) -> int:
    """Print what was given out, and where."""
    report_notes(given.notes)
    emit_json({"what": given.text, "notes": list(given.notes)}) if as_json else emit([given.text])
    return 0


def report_prepared(held: LockedTree, name: str, notes: Sequence[str]) -> int:
    """Print that there was nothing to make a level of, and what is prepared."""
    report_notes((*held.notes, *notes))
    emit(
        [
            f"{shown(held.tree.folder)}: no edits; the commit template is ready for {name}: edit,"
            " `git commit`, then `porter refresh`"
        ]
    )
    return 0


def report_rebase(done: Rebased, *, range_diff: bool, as_json: bool) -> int:
    """Print what became of each level on the new upstream; return the exit code."""
    if as_json:
        levels = [{"level": name, "status": what} for name, what in done.levels]
        emit_json({"onto": done.onto, "levels": levels, "notes": list(done.notes)})
        return 0
    styles = {"same": "dim", "moved": "dim", "changed": "yellow", "dropped": "red"}
    rows = [(what, name) for name, what in done.levels]
    colour = colour_wanted()
    lines = table(rows, row_styles=[styles[what] for what, _ in rows], colour=colour)
    counts = Counter(what for _, what in done.levels)
    total = ", ".join(f"{counts[what]} {what}" for what in styles if counts[what])
    lines.append(f"on {done.onto[:10]}: {total}; written to {done.changed.published.folder}")
    lines += [*done.changed.published.notes, *done.notes]
    tree, level = done.changed.tree, done.changed.level
    if tree is not None and level is not None:
        last = len(tree.record.levels) - 1
        lines.append(f"{shown(tree.folder)}: {level_line(level, last, colour)}")
    emit([*lines, *(done.range_diff.splitlines() if range_diff else ())])
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
    lines += table(
        [("changed", path) for path in _by_folder(done.changed)], colour=colour_wanted(), indent=2
    )
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
