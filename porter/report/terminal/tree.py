"""Work trees on the terminal: what ``apply``, ``goto`` and ``next`` did, and ``porter status``.

Imports only what moving a tree has imported already: a move takes milliseconds.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from porter.terminal import colour_wanted, counted, emit, flow, listed, paint, readable, table
from porter.tree.tree import files_between, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from porter.editing.session import Stopped
    from porter.tree.apply import Applied
    from porter.tree.locked import LockedTree
    from porter.tree.move import Moved
    from porter.tree.tree import Edit, Position, Tree, TreeLevel


def level_line(level: TreeLevel, last: int, colour: bool) -> str:
    """Return "level 1 of 3: name"."""
    return f"level {level.number} of {last}: {paint(level.name, 'bold', colour)}"


def report_notes(notes: tuple[str, ...]) -> None:
    """Print on stderr what was repaired on the way."""
    for note in notes:
        print(f"porter: {note}", file=sys.stderr)


def report_move(held: LockedTree, moved: Moved) -> None:
    """Print which level the tree is at now, and what the move did."""
    report_notes(held.notes)
    colour, target = colour_wanted(), moved.target
    levels = held.tree.record.levels
    start = moved.start
    line = level_line(target, held.tree.record.last, colour)
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


def _not_covered(source: str) -> str:
    """Return "not covered by" with the source, when there was one just now."""
    return f"not covered by {source}" if source.startswith("sdist") else "not covered by any source"


def applied_lines(done: Applied) -> list[str]:
    """Return what ``porter apply`` did with one tree."""
    colour, record = colour_wanted(), done.tree.record
    last = record.last
    lead = "beside it: " if done.companion else ""
    line = f"{lead}{shown(done.tree.folder)}: {record.port}, {level_line(done.level, last, colour)}"
    if done.made:
        line += f" ({counted(record.files, 'file')})"
    elif done.companion:
        line += " (left as it is)"
    elif done.moved and done.moved.start.commit == done.level.commit:
        line += " (already there)"
    elif done.moved and done.moved.start.level:
        line += f" (was level {done.moved.start.level.number})"
    lines = [line]
    if done.moved and done.moved.carried:
        lines.append(f"  edits carried along: {listed(map(readable, done.moved.carried))}")
    if done.made:
        for path, why in record.submodules.items():
            lines += flow(f"submodule {path}" + (f": {why}" if why else ""), 2)
        if record.uncovered:
            names = listed(map(readable, record.uncovered), 4)
            many = f"{len(record.uncovered):,} of {record.files + len(record.uncovered):,}"
            lines += flow(f"{_not_covered(record.source)}: {many} wanted files ({names})", 2)
    return lines


def status_json(
    tree: Tree, here: Position, edits: Sequence[Edit], changed: bool, stopped: Stopped | None
) -> dict[str, Any]:
    """Return ``porter status`` as plain values; ``changed``: the series is another one now."""
    level, broken = here.level, tree.record.broken
    return {
        "folder": str(tree.folder),
        "port": tree.record.port,
        "level": None if level is None else {"number": level.number, "name": level.name},
        "levels": tree.record.last + 1,
        "broken": None if broken is None else {"levels": list(broken.off), "reason": broken.why},
        "commit": here.commit,
        "commits_ahead": here.ahead,
        "branch": here.branch,
        "series_changed": changed,
        "change": stopped
        and {
            "command": stopped.session.what,
            "level": stopped.level,
            "files": [readable(path) for path in stopped.files],
        },
        "edits": [{"path": readable(e.path), "status": e.what, "staged": e.staged} for e in edits],
        "files": tree.record.files,
        "source": tree.record.source,
        "not_covered": [readable(path) for path in tree.record.uncovered],
        "submodules": {
            path: {"populated": (tree.folder / path / ".git").exists(), "reason": why}
            for path, why in tree.record.submodules.items()
        },
    }


def status_lines(
    tree: Tree, here: Position, edits: Sequence[Edit], changed: bool, stopped: Stopped | None
) -> list[str]:
    """Return ``porter status`` as text; ``changed``: the series is another one now."""
    colour, record = colour_wanted(), tree.record
    last = record.last
    lines = [f"{shown(tree.folder)}: {paint(record.port, 'bold', colour)}"]
    level = here.level
    if stopped is not None:
        lines += _stopped_lines(stopped)
    elif level is None:
        lines.append(f"HEAD ({here.commit[:8]}) comes from no level")
    else:
        lines[0] += ", " + level_line(level, last, colour)
        if here.ahead:
            lines.append(
                f"{counted(here.ahead, 'commit')} after it, in no level yet"
                f" (`porter refresh` makes levels of them)"
            )
    if here.branch:
        lines.append(f"on branch {here.branch}")
    if here.former or changed:
        lines.append("the series has changed since; `porter goto LEVEL` takes the new one")
    elif stopped is None and level is not None and level.number < len(record.levels) - 1:
        after = record.levels[level.number + 1]
        lines += table([("next:", f"{after.number} {after.name}", after.subject)], colour=colour)
    if record.broken is not None and not changed:
        lines += flow(f"from level {len(record.levels)} on: {record.broken.why}")
    lines += _edit_lines("edited:", [e for e in edits if e.what != "?"], colour)
    lines += _edit_lines("untracked:", [e for e in edits if e.what == "?"], colour)
    if record.uncovered:
        names = listed(map(readable, record.uncovered), 4)
        many = counted(len(record.uncovered), "file")
        lines += flow(f"{_not_covered(record.source)}: {many} ({names})")
    for path, why in record.submodules.items():
        lines += flow(f"submodule {path}: {why}") if why else []
    return lines


def _stopped_lines(stopped: Stopped) -> list[str]:
    """Say which change of the series stopped where, and how to go on."""
    session, files = stopped.session, listed(map(readable, stopped.files))
    state = f"{stopped.level} conflicts in {files}" if files else "its conflict is resolved"
    ways = [(f"porter {session.command} --continue", "go on" if not files else "after `git add`")]
    if stopped.level:  # else the last one is resolved or left out
        ways += [(f"porter {session.command} --skip", f"leave {stopped.level} out of the series")]
    ways += [(f"porter {session.command} --abort", "all is as before")]
    return [*flow(f"`porter {session.what}` is in progress: {state}"), *table(ways, indent=2)]


def _edit_lines(title: str, edits: Sequence[Edit], colour: bool) -> list[str]:
    if not edits:
        return []
    styles = {"A": "green", "D": "red", "U": "red", "?": "dim"}
    rows = [(e.what, readable(e.path) + (" (staged)" if e.staged else "")) for e in edits]
    colours = [styles.get(e.what, "yellow") for e in edits]
    return [title, *table(rows, row_styles=colours, colour=colour, indent=2)]
