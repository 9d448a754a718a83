"""Python processes of a test's own, that find this project and keep to one thread."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def own_environment(**more: str) -> dict[str, str]:
    """The environment for such a process, with more of the caller's."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **more}
