"""Who holds a tree's lock, as the lock file says it."""

from __future__ import annotations

import os

_WIDTH = 120


def holder_line(what: str) -> bytes:
    """Return the line for this process at work on ``what``.

    Always the same length, written over the last one: a file system may flush a truncated file to
    disk when it is closed, which takes longer than the move.
    """
    text = f"process {os.getpid()}: porter {what}".encode(errors="replace")
    return text[: _WIDTH - 1].ljust(_WIDTH - 1) + b"\n"
