"""The process of one run: start it, wait for it, end it with everything it started.

A cold process is a fresh interpreter; :mod:`porter.verify.execution.forkserver` makes forked ones.
Either has a session and a process group of its own, so one kill ends everything it started.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.process import kill_group
from porter.verify.harness import main as harness


@dataclass(frozen=True)
class Start:
    """What a run's process needs to start: interpreter, job file and run folder.

    ``shared`` are the variables it has in common with other runs, ``own`` those that name its own
    folders. ``lifeline``, ``out`` and ``err`` are open files of the process: it ends when the other
    end of the first closes, and prints to the others.
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
        """The process id, which is also the id of its group."""
        ...

    def wait(self, seconds: float) -> int | None:
        """Return the exit code (negative: the signal's number), or None if it still runs then."""
        ...

    def end(self) -> int:
        """Kill what is left of its group; return the exit code."""
        ...


class ColdProcess:
    """A fresh interpreter."""

    def __init__(self, start: Start) -> None:
        self._process = subprocess.Popen(
            [str(start.python), harness.__file__, str(start.job), str(start.lifeline)],
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
