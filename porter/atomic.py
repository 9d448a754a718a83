"""Files in the cache: whole or not there, however a porter ends; and notes that nobody misses."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_atomic(place: Path, data: bytes) -> None:
    """Write a file beside its place and rename it, its folder made when absent. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(place)
    finally:
        Path(name).unlink(missing_ok=True)


def write_json(place: Path, found: Any) -> None:
    """Note plain data as JSON.

    A cache that cannot be written is no error: it costs the next one its time.
    """
    with suppress(OSError):
        write_atomic(place, json.dumps(found).encode())
