"""Patches that depend on a rule of the migrations which rests on porter's own reading.

A row of ``porter/migrate/data/*.json`` with the source ``porter`` says how porter believes that a
vendor serves a CUDA call; the log of a run marks it (:data:`porter.migrate.log.OWN_LINE`). Upstream
may make such a call. A line that a patch adds may not: where the belief is wrong, the level fails
on a card. ``porter lint`` looks for the added lines in the port's migration logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from porter.finding import Finding
from porter.git.quoting import show_path
from porter.migrate.log import OWN_LINE
from porter.places import migration_logs_dir
from porter.series.series import Patch

RULE = "own-reading"
_CONTEXT = re.compile(r"^(\S+):\d+\n +\[context\]: (.*)\n +\[\w+\]: (.*)$", re.M)


def lint_own_readings(root: Path, port: str, patches: Sequence[Patch]) -> list[Finding]:
    """Return the added lines of a port's patches whose calls a log marks as porter's reading."""
    called = {(file, line): call for file, line, call in _marked(migration_logs_dir(root, port))}
    found = []
    for patch in patches:
        for file in patch.files:
            for hunk in file.hunks:
                for number, raw in enumerate(hunk.lines, hunk.line + 1):
                    line = raw[1:].decode("utf-8", "replace").strip()
                    if raw[:1] == b"+" and (call := called.get((show_path(file.path), line))):
                        text = f"expected calls that the vendor documents, found {call}, "
                        text += "served by porter's own reading; use the device's own API"
                        name = f"patches/{port}/{patch.name}"
                        found.append(Finding(name, number, RULE, text))
    return found


def _marked(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield file, source line and call of each marked entry of a port's logs."""
    for path in sorted(folder.glob("*.txt")):
        for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
            match = _CONTEXT.search(paragraph)
            if OWN_LINE in paragraph and match:
                yield match[1], match[2].strip(), match[3].partition(" --> ")[0]
