"""Processes that tests start: their environment, and waiting for them.

A test waits for what happens, never for a time in which it should have: a machine may be twenty
times as slow as another. PATIENCE only ends a wait for what will never happen, just before
pytest's own limit, with a word on what was waited for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 280.0
"""Seconds; pytest's limit for a test is 300."""
PROJECT = Path(__file__).resolve().parent.parent


def own_environment(**more: str) -> dict[str, str]:
    """The environment for such a process, with more of the caller's."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", **more}


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Wait until ``happened()``; fail after PATIENCE seconds, naming ``what``."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"waited {PATIENCE:g} s for {what}"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended: it is gone or a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended, even if it is not a child."""
    wait_until(lambda: is_gone(pid), f"the end of process {pid}")


def wait_for_pid(path: Path) -> int:
    """Wait until a process has written its id (and nothing after it) to a file; return it."""
    wait_until(lambda: path.exists() and bool(path.read_text()), f"a process id in {path.name}")
    return int(path.read_text())
