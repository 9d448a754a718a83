"""Entries of a migration log as plain data and as text. Free of torch: logs are read without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from porter.migrate.table import Kind

_WORDS = {"match": "match", "modified": "modified", "unsupported": "mismatch"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One mapped call at one site."""

    file: str
    line: int
    source: str
    kind: Kind
    asked: str
    served: str
    time: str = ""


def count_kinds(entries: Iterable[Entry]) -> dict[str, int]:
    """How many sites of each kind."""
    found = Counter(entry.kind for entry in entries)
    return {kind: found[kind] for kind in ("match", "modified", "unsupported")}


def summary(target: str, entries: Iterable[Entry]) -> str:
    """One line: "simulated migration cuda -> hpu: 7 sites matched, ..."."""
    counts = count_kinds(entries)
    return (
        f"simulated migration cuda -> {target}: {counts['match']} sites matched, "
        f"{counts['modified']} modified, {counts['unsupported']} unsupported"
    )


def as_paragraph(target: str, entry: Entry) -> str:
    """An entry in the manner of the vendor's log: where, the source line, asked and served."""
    stamp = f"[{entry.time}] " if entry.time else ""
    kind = f"{target}_{_WORDS[entry.kind]}"
    return (
        f"{stamp}{entry.file}:{entry.line}\n"
        f"    [context]: {entry.source}\n"
        f"    [{kind}]: {entry.asked} --> {entry.served}\n"
    )
