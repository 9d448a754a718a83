"""A line that shows a transfer as it goes on, where somebody looks (stderr is a terminal)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.gitfetch import Progress


@contextmanager
def transfer() -> Iterator[Progress | None]:
    """Yield what to tell a transfer's state to, or None; the line is gone afterwards."""
    if not sys.stderr.isatty():
        yield None
        return
    drawn = 0.0

    def draw(what: str, done: int, total: int, received: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < 0.1 and done != total:
            return
        drawn = now
        share = f" {100 * done // total:3d} %" if total else ""
        sys.stderr.write(f"\r\x1b[K{what}{share}, {received / 1e6:.1f} MB")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        if drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
