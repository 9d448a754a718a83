"""Say which level a tree is at, what comes next, what is edited and what no source covered."""

from __future__ import annotations

import argparse
from typing import Any

from porter.commands.options import add_folder, add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.moved import report_notes
    from porter.terminal import emit, emit_json
    from porter.tree.locked import settle_if_idle
    from porter.tree.tree import edits, find_tree, position, series_changed

    tree = find_tree(args.dir)
    note = settle_if_idle(tree)
    here, edited, changed = position(tree), edits(tree), series_changed(tree)
    report_notes((note,) if note else ())
    if args.json:
        emit_json(_value(tree, here, edited, changed))
    else:
        emit(_lines(tree, here, edited, changed))
    return 0


def _value(tree: Any, here: Any, edited: Any, changed: bool) -> dict[str, Any]:
    from porter.terminal import readable

    level = here.level
    return {
        "folder": str(tree.folder),
        "port": tree.record.port,
        "level": None if level is None else {"number": level.number, "name": level.name},
        "levels": len(tree.record.levels),
        "commit": here.commit,
        "commits_ahead": here.ahead,
        "branch": here.branch,
        "series_changed": changed,
        "edits": [{"path": readable(e.path), "status": e.what, "staged": e.staged} for e in edited],
        "files": tree.record.files,
        "source": tree.record.source,
        "not_covered": [readable(path) for path in tree.record.uncovered],
        "submodules": {
            path: {"populated": not why, "reason": why}
            for path, why in tree.record.submodules.items()
        },
    }


def _lines(tree: Any, here: Any, edited: Any, changed: bool) -> list[str]:
    from porter.report.terminal.moved import level_line
    from porter.report.terminal.tree import not_covered
    from porter.terminal import colour_wanted, counted, flow, listed, paint, readable, table
    from porter.tree.tree import shown

    colour, record = colour_wanted(), tree.record
    last = len(record.levels) - 1
    lines = [f"{shown(tree.folder)}: {paint(record.port, 'bold', colour)}"]
    level = here.level
    if level is None:
        lines.append(f"HEAD ({here.commit[:8]}) comes from no level")
    else:
        lines[0] += ", " + level_line(level, last, colour)
        if here.ahead:
            lines.append(
                f"{counted(here.ahead, 'commit')} after it, in no level yet"
                f" (`porter export {record.port}` makes patches of them)"
            )
    if here.branch:
        lines.append(f"on branch {here.branch}")
    if here.former or changed:
        lines.append("the series has changed since; `porter goto LEVEL` takes the new one")
    elif level is not None and level.number < last:
        after = record.levels[level.number + 1]
        lines += table([("next:", f"{after.number} {after.name}", after.subject)], colour=colour)
    tracked = [e for e in edited if e.what != "?"]
    styles = {"A": "green", "D": "red", "U": "red", "?": "dim"}
    for title, group in (
        ("edited:", tracked),
        ("untracked:", [e for e in edited if e.what == "?"]),
    ):
        if group:
            lines.append(title)
            rows = [(e.what, readable(e.path) + (" (staged)" if e.staged else "")) for e in group]
            colours = [styles.get(e.what, "yellow") for e in group]
            lines += table(rows, row_styles=colours, colour=colour, indent=2)
    if record.uncovered:
        names = listed(map(readable, record.uncovered), 4)
        many = counted(len(record.uncovered), "file")
        lines += flow(f"{not_covered(record.source)}: {many} ({names})")
    for path, why in record.submodules.items():
        lines += flow(f"submodule {path}: {why}") if why else []
    return lines
