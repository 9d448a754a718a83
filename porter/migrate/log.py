"""The migration log: every CUDA call that another device served, once per site.

It is text, in the form of the vendor's own logs::

    scripts/txt2img.py:40
        [context]: model.cuda()
        [hpu_match]: torch.nn.Module.cuda() --> torch.nn.Module.to("hpu")

with a fourth line where nothing that the vendor published shows how the call is served; or JSON
lines (a file name that ends in ``.json`` or ``.jsonl``). Paths are relative to the tree and
there are no times, so that two logs can be compared with ``diff``. Importing this module does not
import torch, so that logs are read cheaply.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.migrate.table import Kind

if TYPE_CHECKING:
    from porter.interception.source_lines import Site


OWN_WORDS = "by porter's own reading"
OWN_LINE = f"[source]: {OWN_WORDS}, no published log or page of the vendor has this call"
"""Stands under an entry of a log, and is what ``porter lint`` looks for."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One mapped call at one site."""

    file: str
    line: int
    source: str
    kind: Kind
    asked: str
    served: str
    own_reading: bool = False
    """Nothing that the vendor published shows how this call is served: porter's rule may be wrong.
    """


def summary(target: str, entries: Iterable[LogEntry]) -> str:
    """Return one line: "simulated migration cuda -> hpu: 7 sites matched, ..."."""
    entries = list(entries)
    counts = Counter(entry.kind for entry in entries)
    own = sum(entry.own_reading for entry in entries)
    return (
        f"simulated migration cuda -> {target}: {counts['match']} sites matched, "
        f"{counts['modified']} modified, {counts['unsupported']} unsupported"
        + (f"; {own} of them {OWN_WORDS}" if own else "")
    )


def as_paragraph(target: str, entry: LogEntry) -> str:
    """Return an entry in the vendor's form: site, source line, the call and what served it."""
    kind = f"{target}_{'mismatch' if entry.kind == 'unsupported' else entry.kind}"
    return (
        f"{entry.file}:{entry.line}\n"
        f"    [context]: {entry.source}\n"
        f"    [{kind}]: {entry.asked} --> {entry.served}\n"
        + (f"    {OWN_LINE}\n" if entry.own_reading else "")
    )


class MigrationLog:
    """Entries in order of first appearance; their paths are relative to ``root``."""

    def __init__(self, target: str, root: Path | None = None) -> None:
        self.target = target
        self.root = root.resolve() if root is not None else None
        self._entries: dict[tuple[Site, str, Kind], LogEntry] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def record(
        self,
        api: str,
        kind: Kind,
        asked: Callable[[], str],
        served: str,
        *,
        own_reading: bool = False,
    ) -> None:
        """Record a call of ``api`` at the user's line; ``asked()`` returns its text."""
        from porter.interception.source_lines import user_site

        site = user_site(2)
        key = (site, api, kind)
        if key in self._entries:
            return
        shown = site.relative_to(self.root)
        entry = LogEntry(shown.file, shown.line, site.source, kind, asked(), served, own_reading)
        with self._lock:
            self._entries.setdefault(key, entry)

    def summary(self) -> str:
        """Return the summary line."""
        return summary(self.target, self)

    def as_text(self) -> str:
        """Return the log as text, the summary first."""
        paragraphs = (as_paragraph(self.target, entry) for entry in self)
        return "\n".join([f"# {self.summary()}", "", *paragraphs])

    def as_json_lines(self) -> str:
        """Return the log as JSON lines, one object per entry."""
        rows = ({"simulated": True, "target": self.target, **asdict(entry)} for entry in self)
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def write(self, path: Path) -> None:
        """Write the log, whole or not at all: JSON lines for ``.json``/``.jsonl``, else text."""
        text = self.as_json_lines() if path.suffix in (".json", ".jsonl") else self.as_text()
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8", errors="backslashreplace")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
