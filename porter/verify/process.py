"""The process of one run, as porter holds it: waited for, ended with all it started, drained.

A cold process is a fresh interpreter; :mod:`porter.verify.warm` makes the other kind. Either has a
session and a process group of its own, so that one kill ends it with everything it started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from porter.verify import runner

_KEPT_BYTES = 16 * 1024


class Stopped(Exception):
    """Ended before its time: nobody wants it any more."""


@dataclass(frozen=True)
class Start:
    """How a run's process is to start: the interpreter, the job's file, the run's folder.

    ``shared`` are the variables it has in common with other runs, ``own`` those that name its own
    folders. ``lifeline``, ``out`` and ``err`` are open files for the process: the first ends it
    when its other end closes, the others are where it prints.
    """

    python: Path
    job: Path
    folder: Path
    shared: Mapping[str, str]
    own: Mapping[str, str]
    lifeline: int
    out: int
    err: int

    @property
    def work_folder(self) -> Path:
        """The empty folder that the process starts in."""
        return self.folder / "scratch"


class Process(Protocol):
    """A run's process."""

    @property
    def pid(self) -> int:
        """Its id, which is its group's too."""
        ...

    def wait(self, seconds: float) -> int | None:
        """Return its exit code (negative: the signal's number), or None if it still runs then."""
        ...

    def end(self) -> int:
        """Kill what is left of it and of its group; return its exit code."""
        ...


class ColdProcess:
    """A fresh interpreter."""

    def __init__(self, start: Start) -> None:
        self._process = subprocess.Popen(
            [str(start.python), runner.__file__, str(start.job), str(start.lifeline)],
            cwd=start.work_folder,
            env={**start.shared, **start.own},
            stdin=subprocess.DEVNULL,
            stdout=start.out,
            stderr=start.err,
            start_new_session=True,
            pass_fds=(start.lifeline,),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """See :class:`Process`."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> int:
        """See :class:`Process`."""
        kill_group(self._process.pid)
        return self._process.wait()


def kill_group(group: int) -> None:
    """Kill every process of a group; fine when there is none any more."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def group_memory(group: int) -> int:
    """Return the resident bytes of a process group's members and of all that they started.

    0 where the system does not say. A launcher's workers lead groups of their own.
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
    """Drains a pipe in a thread, keeps the end of what came, and counts it all."""

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
        """Return how much came, how much of it was left out, and the end of it."""
        left_out = self.total - len(self._end)
        return {"bytes": self.total, "left_out": left_out, "end": self.text()}

    def text(self) -> str:
        """Return the end of the output; say how much was left out."""
        self._thread.join(timeout=2)
        shown = plain(bytes(self._end).decode("utf-8", "replace").replace("\r", "\n"))
        left_out = self.total - len(self._end)
        return f"[{left_out} bytes before this left out]\n{shown}" if left_out else shown


def plain(text: str) -> str:
    """Leave out control characters, which would let a probe paint over porter's own output."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
