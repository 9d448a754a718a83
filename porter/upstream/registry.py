"""Register the users of the store: projects, and work trees that borrow its objects.

``porter gc`` may free only what none of them needs. A work tree points at the store, but the store
not at its trees; so each user leaves a small file here that holds its path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from porter.atomic import write_atomic
from porter.places import PINS_FILE, cache_dir


def register(kind: Literal["projects", "trees"], path: Path) -> None:
    """Register a project or a work tree by its folder."""
    text = os.fsencode(path.absolute())
    digest = hashlib.sha256(text).hexdigest()[:24]
    note = cache_dir() / "store" / kind / f"{digest}.path"
    if note.exists():
        return
    try:
        write_atomic(note, text)
    except OSError:
        pass  # a read-only store works all the same, and gc cannot run on it


def projects() -> tuple[Path, ...]:
    """Return the registered projects that still have pins."""
    return tuple(path for path in _registered("projects") if (path / PINS_FILE).is_file())


def trees() -> tuple[Path, ...]:
    """Return the registered work trees that still exist."""
    return tuple(path for path in _registered("trees") if (path / ".git").exists())


def forget_gone() -> None:
    """Unregister projects and work trees that no longer exist."""
    living = {*map(str, projects()), *map(str, trees())}
    for kind in ("projects", "trees"):
        for note in _notes(kind):
            if os.fsdecode(note.read_bytes()) not in living:
                note.unlink(missing_ok=True)


def _notes(kind: str) -> list[Path]:
    return sorted((cache_dir() / "store" / kind).glob("*.path"))


def _registered(kind: str) -> Iterator[Path]:
    for note in _notes(kind):
        try:
            yield Path(os.fsdecode(note.read_bytes()))
        except FileNotFoundError:
            continue
