#!/usr/bin/env python3
"""How well ``porter scan`` agrees with the ports of this repository, which people wrote.

Prints two tables as Markdown, for the ports named (default: all that have upstreams to scan).

Recall, by patch: of the groups of lines that the patch changes or deletes in Python files, how many
hold a finding at the level below. Groups that only insert are not counted, nor are new files.

Precision, by rule: of the findings at level 0, in the files that the port's series touches, how
many are no longer found at its last level. What a series leaves as it is on purpose counts against
the rule, so this is a lower bound.

With --published UPSTREAM PORT, two files: the same for a port that somebody else published, which
this project has no patch of.
"""

from __future__ import annotations

import argparse
import difflib
from collections import Counter
from itertools import pairwise
from pathlib import Path

from porter.levels.levels import Level, build_levels
from porter.scan.reading.rule import ScanFinding
from porter.scan.rules.registry import RULES
from porter.scan.scanning import scan_files
from porter.scan.sources import CodeFile, level_files
from porter.series.series import load_series
from porter.upstream.pins import load_pins
from porter.upstream.store import Upstream, open_upstream

PROJECT = Path(__file__).resolve().parent.parent
PATCHES = ("minimal", "minimal-changes", "randn-to-cpu", "groupnorm-to-layernorm")


def files_of(upstream: Upstream, level: Level) -> dict[str, CodeFile]:
    """Return the Python files of a level by path."""
    return {file.path: file for file in level_files(upstream, level)}


def found_in(files: dict[str, CodeFile]) -> list[ScanFinding]:
    """Return the findings of all rules."""
    return scan_files(files.values(), list(RULES.values())).findings


def changed_groups(before: CodeFile, after: CodeFile | None) -> list[range]:
    """Return the groups of lines (numbers from 1) that ``after`` lacks or has otherwise."""
    old = before.text().splitlines()
    new = after.text().splitlines() if after is not None else []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [
        range(begin + 1, end + 1)
        for kind, begin, end, _, _ in matcher.get_opcodes()
        if kind in ("replace", "delete")
    ]


def recall_of(upstream: Upstream, below: Level, level: Level) -> tuple[int, int]:
    """Return how many changed groups hold a finding, and how many there are."""
    old, new = files_of(upstream, below), files_of(upstream, level)
    touched = {
        path: file
        for path, file in old.items()
        if file.content != getattr(new.get(path), "content", b"")
    }
    lines = {(finding.file, finding.line) for finding in found_in(touched)}
    groups = [
        (path, group)
        for path, file in touched.items()
        for group in changed_groups(file, new.get(path))
    ]
    hit = sum(any((path, line) in lines for line in group) for path, group in groups)
    return hit, len(groups)


def published_row(old: Path, new: Path) -> str:
    """Return, for a file and its published port, groups, those with a finding, and findings."""
    before, after = CodeFile(old.name, old.read_bytes()), CodeFile(new.name, new.read_bytes())
    found = found_in({before.path: before})
    lines = {finding.line for finding in found}
    groups = changed_groups(before, after)
    hit = sum(any(line in lines for line in group) for group in groups)
    on = sum(any(finding.line in group for group in groups) for finding in found)
    return f"| {old.name} | {len(groups)} | {hit} | {len(found)} | {on} |"


def mended_of(upstream: Upstream, levels: tuple[Level, ...]) -> tuple[Counter[str], Counter[str]]:
    """Return by rule how many findings of touched files there are at level 0, and mended."""
    last = [level for level in levels if not level.off][-1]
    touched = {path.decode() for level in levels for path in level.files}
    first_files, last_files = (
        {path: file for path, file in files_of(upstream, level).items() if path in touched}
        for level in (levels[0], last)
    )
    old = found_in(first_files)
    left = Counter((f.file, f.code, f.source) for f in found_in(last_files))
    found, mended = Counter[str](), Counter[str]()
    for finding in old:
        found[finding.code] += 1
        key = (finding.file, finding.code, finding.source)
        if left[key]:
            left[key] -= 1
        else:
            mended[finding.code] += 1
    return found, mended


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("ports", nargs="*")
    parser.add_argument("--published", nargs=2, type=Path, metavar=("UPSTREAM", "PORT"))
    options = parser.parse_args()
    if options.published:
        print("| file | changed groups | with a finding | findings | on changed lines |")
        print("| --- | --- | --- | --- | --- |")
        print(published_row(*options.published))
        return
    pins = load_pins(PROJECT)
    found, mended = Counter[str](), Counter[str]()
    print("| port | patch | changed groups | with a finding | recall |")
    print("| --- | --- | --- | --- | --- |")
    for port in options.ports or [pin.name for pin in pins.ports()]:
        series = load_series(PROJECT, port)
        with open_upstream(PROJECT, pins.port(port)) as upstream:
            levels = build_levels(upstream, series, write=True)
            for below, level in pairwise(levels):
                if level.name in PATCHES:
                    hit, all_ = recall_of(upstream, below, level)
                    share = f"{hit / all_:.0%}" if all_ else ""
                    print(f"| {port} | {level.name} | {all_} | {hit} | {share} |", flush=True)
            one, other = mended_of(upstream, levels)
            found, mended = found + one, mended + other
    print("\n| code | rule | found | mended by the series | share |")
    print("| --- | --- | --- | --- | --- |")
    for code, rule in RULES.items():
        if found[code]:
            share = f"{mended[code] / found[code]:.0%}"
            print(f"| {code} | {rule.name} | {found[code]} | {mended[code]} | {share} |")
    everything, agreed = sum(found.values()), sum(mended.values())
    print(f"| | all | {everything} | {agreed} | {agreed / everything:.0%} |")


if __name__ == "__main__":
    main()
