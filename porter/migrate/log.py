"""The migration log: every CUDA call that another device served, once per site.

It is text, in the form of the vendor's own logs::

    scripts/txt2img.py:40
        [context]: model.cuda()
        [hpu_match]: torch.nn.Module.cuda() --> torch.nn.Module.to("hpu")

or JSON lines (a file name that ends in ``.json`` or ``.jsonl``). Paths are relative to the tree and
timestamps are optional, so that two logs can be compared with ``diff``.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from porter.interception.source_lines import Site, user_site
from porter.migrate.entries import Entry, as_paragraph, count_kinds, summary
from porter.migrate.table import Kind


class MigrationLog:
    """Entries in order of first appearance; their paths are relative to ``root``."""

    def __init__(
        self,
        target: str,
        root: Path | None = None,
        *,
        timestamps: bool = False,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.target = target
        self.root = root.resolve() if root is not None else None
        self.timestamps = timestamps
        self._clock = clock
        self._entries: dict[tuple[Site, str, Kind], Entry] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, api: str, kind: Kind, asked: Callable[[], str], served: str) -> None:
        """Record a call of ``api`` at the user's line; ``asked()`` returns its text."""
        site = user_site(2)
        key = (site, api, kind)
        if key in self._entries:
            return
        shown = site.relative_to(self.root)
        time = self._clock().strftime("%Y-%m-%d %H:%M:%S") if self.timestamps else ""
        entry = Entry(shown.file, shown.line, site.source, kind, asked(), served, time)
        with self._lock:
            self._entries.setdefault(key, entry)

    def counts(self) -> dict[str, int]:
        """Count the sites of each kind."""
        return count_kinds(self)

    def summary(self) -> str:
        """Return the summary line (:func:`porter.migrate.entries.summary`)."""
        return summary(self.target, self)

    def as_text(self) -> str:
        """Return the log as text, the summary first."""
        paragraphs = (as_paragraph(self.target, entry) for entry in self)
        return "\n".join([f"# {self.summary()}", "", *paragraphs])

    def as_json_lines(self) -> str:
        """Return the log as JSON lines, one object per entry."""
        lines = []
        for entry in self:
            row = {
                "simulated": True,
                "target": self.target,
                "file": entry.file,
                "line": entry.line,
                "source": entry.source,
                "kind": entry.kind,
                "asked": entry.asked,
                "served": entry.served,
            }
            if entry.time:
                row["time"] = entry.time
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        return "".join(lines)

    def write(self, path: Path) -> None:
        """Write the log, whole or not at all: JSON lines for ``.json``/``.jsonl``, else text."""
        text = self.as_json_lines() if path.suffix in (".json", ".jsonl") else self.as_text()
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
