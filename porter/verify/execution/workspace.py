"""The folder that runs work in: the cache's, or a temporary one when the cache's disk is full.

With a full disk traces are not cached; the verdict is still reached.
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
"""Text of the system's error, found in the failure of a run that filled the disk."""


@dataclass
class Workspace:
    """The folder that runs work in. ``why`` is the reason it is not the cache's; "" when it is."""

    folder: Path
    why: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fall_back(self, why: str) -> Path:
        """Switch to a temporary folder, once; return it."""
        with self._lock:
            if not self.why:
                self.folder, self.why = Path(tempfile.mkdtemp(prefix="porter-runs-")), why
            return self.folder


@contextmanager
def open_workspace(runs: Path) -> Iterator[Workspace]:
    """Yield the folder that runs work in: ``runs``, or a temporary one, deleted afterwards."""
    workspace = Workspace(runs)
    try:
        if why := _lack(runs):
            workspace.fall_back(why)
        yield workspace
    finally:
        if workspace.why:
            shutil.rmtree(workspace.folder, ignore_errors=True)


def _lack(runs: Path) -> str:
    """Return why runs cannot work in ``runs``; "" when they can."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs):
            free = shutil.disk_usage(runs).free
    except OSError as error:
        return f"{runs}: {error.strerror}"
    return f"{runs}: {free // 2**20} MiB left on its disk" if free < LEAST_BYTES else ""
