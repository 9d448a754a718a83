"""What ``porter apply`` did, told."""

from __future__ import annotations

from porter.report.terminal.moved import level_line
from porter.terminal import colour_wanted, counted, flow, listed, readable
from porter.tree.apply import Applied
from porter.tree.tree import shown


def not_covered(source: str) -> str:
    """Return "not covered", and by which source when there was one just now."""
    return f"not covered by {source}" if source.startswith("sdist") else "not covered by any source"


def applied_lines(done: Applied) -> list[str]:
    """Return the lines about one tree."""
    colour, record = colour_wanted(), done.tree.record
    last = len(record.levels) - 1
    where = shown(done.tree.folder)
    lead = "beside it: " if done.companion else ""
    line = f"{lead}{where}: {record.port}, {level_line(done.level, last, colour)}"
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
            lines += flow(f"{not_covered(record.source)}: {many} wanted files ({names})", 2)
    return lines
