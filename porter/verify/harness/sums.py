"""Checksums of a trace's files, in ``sums.json`` beside them: a file that changed is noticed.

Standard library only, since the probe's interpreter imports it too.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SUMS = "sums.json"


def write_sums(folder: Path) -> None:
    """Write the checksums of a finished trace's files."""
    sums = {path.name: sum_of(path.read_bytes()) for path in _files(folder)}
    (folder / SUMS).write_text(json.dumps(sums, indent=1, sort_keys=True), encoding="utf-8")


def sum_of(content: bytes) -> str:
    """Return the checksum of a file's content."""
    return hashlib.sha256(content).hexdigest()


def damage_of(folder: Path) -> str:
    """Return what differs from the checksums of a trace, "" if nothing does."""
    try:
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        found = {path.name: sum_of(path.read_bytes()) for path in _files(folder)}
        differing = sorted(name for name, _ in sums.items() ^ found.items())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{SUMS}: {error}"
    return f"{differing[0]} is not as it was written" if differing else ""


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.name != SUMS]
