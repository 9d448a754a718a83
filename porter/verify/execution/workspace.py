"""Where runs work: in the cache, or in a temporary folder when the cache's disk has no room.

A full disk costs what could have been kept, not the verdict.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LEAST_BYTES = 16 * 2**20
FULL = "No space left on device"
"""What the system's error says, and so a failed run's last words."""


@dataclass
class Workspace:
    """The folder that runs work in. ``why`` says why it is not the cache's; "" when it is."""

    folder: Path
    why: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fall_back(self, why: str) -> Path:
        """Return a temporary folder to work in from now on, the same one for all who ask."""
        with self._lock:
            if not self.why:
                self.folder, self.why = Path(tempfile.mkdtemp(prefix="porter-runs-")), why
            return self.folder


@contextmanager
def make_room(runs: Path) -> Iterator[Workspace]:
    """Give the folder that runs work in: ``runs``, or a temporary one, deleted afterwards."""
    room = Workspace(runs)
    try:
        if why := _lack(runs):
            room.fall_back(why)
        yield room
    finally:
        if room.why:
            shutil.rmtree(room.folder, ignore_errors=True)


def _lack(runs: Path) -> str:
    """Say what hinders runs from working in ``runs``; "" when nothing does."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs):
            free = shutil.disk_usage(runs).free
    except OSError as error:
        return f"{runs}: {error.strerror}"
    return f"{runs}: {free // 2**20} MiB left on its disk" if free < LEAST_BYTES else ""
