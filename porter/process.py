"""Process groups: measure their memory, kill them, and keep the end of their output."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_KEPT_BYTES = 16 * 1024


class Stopped(Exception):
    """A run was stopped early because its result is no longer needed."""


def is_alive(process: int) -> bool:
    """Whether a process of this id exists, whoever owns it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def kill_group(group: int) -> None:
    """Kill every process of a group, if there still is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def group_memory(group: int) -> int:
    """Return the resident bytes of a process group's members and of all their descendants.

    0 where the system does not tell. Descendants count because a launcher's workers may lead groups
    of their own.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    resident: dict[int, int] = {}
    parents: dict[int, int] = {}
    try:
        members = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return 0
    for member in members:
        with suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything; the fields after it do not.
            fields = (member / "stat").read_text().rpartition(")")[2].split()
            process = int(member.name)
            resident[process] = int(fields[21]) * page
            parents[process] = group if int(fields[2]) == group else int(fields[1])

    def is_ours(process: int) -> bool:
        while process != group and parents.get(process, 0) not in (0, process):
            process = parents[process]
        return process == group

    return sum(size for process, size in resident.items() if is_ours(process))


class Tail:
    """Drains a pipe in a thread, keeps the end of the output and counts its bytes."""

    def __init__(self, pipe: IO[bytes], kept: int = _KEPT_BYTES) -> None:
        self._pipe = pipe
        self._kept = kept
        self._end = bytearray()
        self.total = 0
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with self._pipe, suppress(OSError, ValueError):
            while chunk := os.read(self._pipe.fileno(), 65536):
                self.total += len(chunk)
                self._end += chunk
                del self._end[: -self._kept]

    def as_json(self) -> dict[str, Any]:
        """Return the output's size, how much of it was dropped, and its end."""
        left_out = self.total - len(self._end)
        return {"bytes": self.total, "left_out": left_out, "end": self.text()}

    def text(self) -> str:
        """Return the end of the output, and how much was dropped."""
        self._thread.join(timeout=2)
        shown = plain(bytes(self._end).decode("utf-8", "replace").replace("\r", "\n"))
        left_out = self.total - len(self._end)
        return f"[{left_out} bytes before this left out]\n{shown}" if left_out else shown


def plain(text: str) -> str:
    """Replace control characters, with which a probe could overwrite porter's own output."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
