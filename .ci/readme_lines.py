#!/usr/bin/env python3
"""Print the README's two set-up command lines, one per line."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command_lines(text: str) -> list[str]:
    """Return a Markdown text's command lines that begin by making an environment."""
    return re.findall(r"^(?: {4}|\t)(python3 -m venv .*\S)$", text, re.M)


if __name__ == "__main__":
    found = command_lines((Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8"))
    if len(found) != 2:
        sys.exit(f"README.md: expected two lines `python3 -m venv ...`, found {len(found)}")
    print("\n".join(found))
