"""Entries of a migration log, as data and as text. Free of torch, so that logs are read cheaply."""

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
    """Count the sites of each kind."""
    found = Counter(entry.kind for entry in entries)
    return {kind: found[kind] for kind in ("match", "modified", "unsupported")}


def summary(target: str, entries: Iterable[Entry]) -> str:
    """Return one line: "simulated migration cuda -> hpu: 7 sites matched, ..."."""
    counts = count_kinds(entries)
    return (
        f"simulated migration cuda -> {target}: {counts['match']} sites matched, "
        f"{counts['modified']} modified, {counts['unsupported']} unsupported"
    )


def as_paragraph(target: str, entry: Entry) -> str:
    """Return an entry in the vendor's form: site, source line, the call and what served it."""
    stamp = f"[{entry.time}] " if entry.time else ""
    kind = f"{target}_{_WORDS[entry.kind]}"
    return (
        f"{stamp}{entry.file}:{entry.line}\n"
        f"    [context]: {entry.source}\n"
        f"    [{kind}]: {entry.asked} --> {entry.served}\n"
    )
