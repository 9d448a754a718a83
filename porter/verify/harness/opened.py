"""Record which files below some folders the Python processes of a run open.

The interpreter reports every file that Python code opens, modules it imports among them (PEP 578).
A file that a library opens by itself it does not, nor what another program does:
:mod:`porter.verify.execution.open_watch` sees those. A program that is started without this record
is noted, so that nothing is taken for unread that it may have read.

Standard library only: a process that a run starts records before anything else is imported.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

OPENED = "opened.txt"
"""The record: a path, absolute and without links, per line."""
ANY = "*"
"""A line of it: some program ran of which nothing is recorded."""
_IGNORING = frozenset("IES")
"""Flags by which Python ignores variables, or runs no ``sitecustomize``."""
LAUNCH = "PORTER_LAUNCH"
"""The variable that names a run's folder in which a process that it starts is set up."""
SITE = "site"
"""The folder in it that ``PYTHONPATH`` names."""
_STARTS = frozenset({"os.exec", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn"})


def record_opened(record: str, roots: Collection[str]) -> None:
    """Append each file below ``roots`` that this process and its forks open to ``record``, once.

    The modules imported so far count. Where ``record`` does not exist or cannot be written, it is
    deleted: then nothing is known of the run.
    """
    recorder = _Recorder(record, tuple(os.path.realpath(root) + os.sep for root in roots))
    recorder.note_beginning()
    sys.addaudithook(recorder.heard)


class _Recorder:
    def __init__(self, record: str, roots: tuple[str, ...]) -> None:
        self.record = record
        self.roots = roots
        self.seen: set[str] = set()
        self.busy = threading.local()
        self.names: list[str] | None = None

    def note_beginning(self) -> None:
        """Note what this process opened before: its modules, the script that it is to run."""
        for module in [*sys.modules.values()]:
            if isinstance(file := getattr(module, "__file__", None), str):
                self.opened(file)
        for word in sys.orig_argv:
            if os.path.isfile(word):
                self.opened(word)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of an event; called for every one of this process, hence in this order."""
        if event == "open":
            path = arguments[0]
            if isinstance(path, int) or hasattr(self.busy, "on"):
                return
            self.busy.on = True
            try:
                if (text := os.fsdecode(path)) not in self.seen:
                    self.opened(text)
            except (TypeError, ValueError):
                pass  # no path: opening it fails too
            finally:
                del self.busy.on
        elif event == "subprocess.Popen":
            if not _is_recorded(*arguments):
                self.write(ANY)
        elif event in _STARTS:
            self.write(ANY)

    def opened(self, path: str) -> None:
        """Note a path, if it is of the files to record."""
        self.seen.add(path)
        real = os.path.realpath(path)
        if real.startswith(self.roots):
            self.write(real)
        elif not os.path.isabs(path) and not os.path.lexists(real):
            # os.open takes a path relative to another folder (dir_fd), which the event leaves out.
            ending = os.sep + os.path.normpath(path)
            for name in self.all_names():
                if name.endswith(ending):
                    self.write(name)

    def all_names(self) -> list[str]:
        """Return the paths of all files below the roots."""
        if self.names is None:
            below = (each for root in self.roots for each in os.walk(root))
            self.names = [
                os.path.join(folder, name) for folder, _, files in below for name in files
            ]
        return self.names

    def write(self, line: str) -> None:
        """Append a line; the file is opened anew, since a script may close all that are open."""
        if line in self.seen:
            return
        self.seen.add(line)
        try:
            file = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(file, os.fsencode(line) + b"\n")
            finally:
                os.close(file)
        except OSError:
            with suppress(OSError):
                os.unlink(self.record)


def _is_recorded(
    executable: Any, arguments: Any, _folder: Any, variables: Mapping[Any, Any] | None
) -> bool:
    """Whether a program that is started records as this process does.

    It does if it is an interpreter or a script of this environment with the variables that
    :mod:`porter.verify.harness.subprocesses` sets, and not told to leave them alone.
    """
    if isinstance(arguments, (str, bytes)):
        return False  # a line for a shell
    words = [os.fsdecode(word) for word in arguments]
    program = shutil.which(os.fsdecode(executable) if executable else words[0])
    launch = os.environ.get(LAUNCH)
    given = os.environ if variables is None else variables
    path = str(given.get("PYTHONPATH")).split(os.pathsep)
    if not (program and launch and given.get(LAUNCH) == launch and f"{launch}/{SITE}" in path):
        return False
    programs = os.path.realpath(os.path.dirname(sys.executable))
    if os.path.realpath(os.path.dirname(program)) != programs:
        return False
    if not os.path.basename(program).startswith("python"):
        with open(program, "rb") as file:
            line = file.readline()
        return line.startswith(b"#!" + os.fsencode(os.path.dirname(sys.executable)))
    for word in words[1:]:
        if word[:1] != "-" or word in ("-m", "-c"):
            break
        if _IGNORING & {*word}:
            return False
    return True
