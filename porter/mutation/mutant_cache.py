"""What a recipe made of a mutant, kept for the next hunt: caught with these words, or passed.

Each recipe's word is a file of its own, so a hunt with more recipes, or with one that changed,
tries a mutant on those alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from porter.atomic import write_json

PASSED = ""
"""The word of a recipe that noticed nothing."""


def recall(place: Path) -> str | None:
    """The words of the verdict that caught the mutant, `PASSED`, or None where nothing is kept."""
    try:
        words = json.loads(place.read_text())["caught"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return words if isinstance(words, str) else None


def remember(place: Path, words: str) -> None:
    """Keep a recipe's word."""
    write_json(place, {"caught": words})
