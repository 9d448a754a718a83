"""Notes in the cache of what took long to find out: whole or not there, and never missed."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def keep(place: Path, found: Any) -> None:
    """Write plain data as JSON beside its place and rename it.

    A cache that cannot be written is no error: it costs the next one its time.
    """
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=place.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(found, file)
            Path(name).replace(place)
        finally:
            Path(name).unlink(missing_ok=True)
