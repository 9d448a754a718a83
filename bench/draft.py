#!/usr/bin/env python3
"""How much of the hand-written levels ``porter draft`` makes, and makes the same way.

Prints a table as Markdown, for the ports named (default: all). Each of the patches minimal,
randn-to-cpu and groupnorm-to-layernorm is compared with the draft of that family on the files that
the patch changes, as the level below has them. Counted are the lines of existing Python files:

- changed by hand: lines that the patch deletes or replaces;
- also by the draft: those of them that the draft deletes or replaces too;
- added by hand, and of these the lines that the draft adds with the same text;
- by the draft alone: lines that the draft replaces and the patch does not.

New files (helper modules) are not counted on either side.

With --folder DIR, instead: what a scan finds in any folder of code, and what a draft changes.
"""

from __future__ import annotations

import argparse
import difflib
from collections import Counter
from itertools import pairwise
from pathlib import Path

from scan import PROJECT, files_of

from porter.draft.drafting import chosen_families, draft
from porter.levels.levels import Level, build_levels
from porter.scan.reading.rule import SEVERITIES
from porter.scan.rules.registry import RULES
from porter.scan.scanning import scan_files
from porter.scan.sources import CodeFile, folder_files
from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.upstream.store import Upstream, open_upstream

FAMILY = {
    "minimal": "minimal",
    "minimal-changes": "minimal",
    "randn-to-cpu": "randn-to-cpu",
    "groupnorm-to-layernorm": "groupnorm-to-layernorm",
}
"""The drafted family by the name of a hand-written level."""


def changes(before: str, after: str) -> tuple[set[int], Counter[str]]:
    """Return the numbers of the lines that are gone, and the texts of those that are new."""
    old, new = before.splitlines(), after.splitlines()
    gone, added = set[int](), Counter[str]()
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone |= set(range(a, b))
            added.update(line.strip() for line in new[c:d] if line.strip())
    return gone, added


def compare(upstream: Upstream, below: Level, level: Level) -> list[int]:
    """Return the five counts of the table for one patch."""
    old, new = files_of(upstream, below), files_of(upstream, level)
    touched = {path: f for path, f in old.items() if path in new and new[path] != f}
    made = draft(touched.values(), chosen_families([FAMILY[level.name]]))
    drafted = made[0].files if made else {}
    counts = [0] * 5
    for path, file in touched.items():
        text = file.text()
        gone, added = changes(text, new[path].text())
        other = CodeFile(path, drafted.get(path, file.content)).text()
        own_gone, own_added = changes(text, other)
        same = (added & own_added).total()
        row = [len(gone), len(gone & own_gone), added.total(), same, len(own_gone - gone)]
        counts = [a + b for a, b in zip(counts, row, strict=True)]
    return counts


def folder_row(folder: Path) -> str:
    """Return what a scan of a folder finds and what a draft of it changes, as a row."""
    files = {file.path: file for file in folder_files(folder)}
    found = scan_files(files.values(), list(RULES.values())).findings
    graves = Counter(finding.gravest for finding in found)
    levels = draft(files.values(), chosen_families([]))
    mended = sum(len(level.mended) for level in levels)
    after = {path: content for level in levels for path, content in level.files.items()}
    gone = added = 0
    for path in after.keys() & files.keys():
        lines, new = changes(files[path].text(), after[path].decode())
        gone, added = gone + len(lines), added + new.total()
    helpers = sum(after[path].count(b"\n") for path in after.keys() - files.keys())
    numbers = (len(files), *(graves[each] for each in SEVERITIES), mended, gone, added, helpers)
    return f"| {folder.name} | {' | '.join(map(str, numbers))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("ports", nargs="*")
    parser.add_argument("--folder", action="append", default=[], type=Path)
    options = parser.parse_args()
    if options.folder:
        head = ("files", "errors", "warnings", "notes", "mended", "lines replaced", "lines added")
        print(f"| folder | {' | '.join(head)} | helper lines |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for folder in options.folder:
            print(folder_row(folder))
        return
    pins = load_pins(PROJECT)
    head = ("changed by hand", "also by the draft", "added by hand", "same text", "draft alone")
    print(f"| port | patch | {' | '.join(head)} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    total = [0] * 5
    for port in options.ports or [pin.name for pin in pins.ports()]:
        series = load_series(PROJECT, port)
        with open_upstream(PROJECT, pins.port(port)) as upstream:
            levels = build_levels(upstream, series, write=True)
            for below, level in pairwise(levels):
                if level.name in FAMILY:
                    row = compare(upstream, below, level)
                    total = [a + b for a, b in zip(total, row, strict=True)]
                    print(f"| {port} | {level.name} | {' | '.join(map(str, row))} |", flush=True)
    print(f"| all | | {' | '.join(map(str, total))} |")


if __name__ == "__main__":
    main()
