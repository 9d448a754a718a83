"""Temporary folders that no killed porter leaves for good.

Each is locked (``flock`` on the folder itself) as long as its porter lives. A folder of this name
whose lock is free is a dead one's: whoever makes the next, and ``porter gc``, deletes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "porter-scratch-"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Make an empty temporary folder, with ``purpose`` in its name; delete it afterwards.

    Raises OSError.
    """
    folder = ScratchFolder(purpose)
    try:
        yield folder.path
    finally:
        folder.close()


class ScratchFolder:
    """A temporary folder that lasts until :meth:`close`."""

    def __init__(self, purpose: str) -> None:
        sweep()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
            lock = _lock(self.path)
            if lock is not None:  # else another porter took it for a dead one's
                self._lock = lock
                return

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep() -> list[Path]:
    """Delete the folders of porters that were killed; return them."""
    gone = []
    with suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
                gone.append(path)
    return gone


def _lock(path: Path) -> int | None:
    """Lock a folder of this user; None where it is held, gone, another's or no folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_uid == os.getuid() and path.exists():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
