"""Which folders hold no code of a project."""

from __future__ import annotations

from pathlib import Path

SKIPPED = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})


def is_skipped(folder: Path, name: str) -> bool:
    """Return whether ``folder / name`` holds no code of the project.

    Nor have virtual environments and hidden folders any.
    """
    return name in SKIPPED or name.startswith(".") or (folder / name / "pyvenv.cfg").is_file()
