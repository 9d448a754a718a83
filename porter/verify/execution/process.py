"""The process of one run, as porter holds it: waited for, ended with all it started, drained.

A cold process is a fresh interpreter; :mod:`porter.verify.execution.forkserver` makes the other
kind. Either has a session and a process group of its own, so that one kill ends it with everything
it started.
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
