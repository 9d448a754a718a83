"""Writing down what a hunt found out, for the next one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def keep(place: Path, found: Any) -> None:
    """Write plain data as JSON, whole or not at all; a full disk costs the next hunt its time."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_suffix(".new")
        beside.write_text(json.dumps(found))
        beside.replace(place)
    except OSError:
        pass
