"""Find out which files of a run's trees it opened, whatever program of it did.

Linux tells who watches a folder of every file opened in it (inotify(7)), by any process: a library
that opens a file itself, a shell. Runs side by side may share a tree, so these would be the files
of all of them. Where every program of the run is a Python process that records what it opens
(:mod:`porter.verify.harness.opened`), its Python files are therefore taken from that record; other
files are so few that those of a run beside it do no harm.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from porter.verify.harness.opened import ANY

_OPEN, _OVERFLOW, _IGNORED, _ONLYDIR, _ISDIR = 0x20, 0x4000, 0x8000, 0x1000000, 0x40000000
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_BYTES = 64 * 1024


@dataclass
class OpenWatch:
    """The files opened below some folders since the watch began. ``broken``: some were missed."""

    roots: Sequence[str]
    broken: bool = True
    _file: int = -1
    _folders: dict[int, str] = field(default_factory=dict)
    _opened: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Begin. ``broken`` stays True where the system has no such watch, or no more of them."""
        if sys.platform != "linux":
            return
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(_FLAGS)
        if self._file < 0:
            return
        for root in self.roots:
            for folder in _folders_below(root):
                name = os.fsencode(folder)
                watch = libc.inotify_add_watch(self._file, name, _OPEN | _ONLYDIR)
                if watch < 0:
                    return
                self._folders[watch] = folder
        self.broken = False

    def read(self) -> None:
        """Take in what was opened so far: to be called often, since the system keeps 16,384."""
        while not self.broken:
            try:
                data = os.read(self._file, _BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & (_OVERFLOW | _IGNORED):
                self.broken = True  # events were lost, or a folder was written anew
            elif not mask & _ISDIR and name:
                self._opened.add(os.path.join(self._folders[watch], os.fsdecode(name)))

    def opened(self, record: Path) -> frozenset[str] | None:
        """Return the paths of the files that a run opened; None where that is not known.

        ``record`` is the one of its Python processes.
        """
        self.read()
        try:
            lines = {os.fsdecode(line) for line in record.read_bytes().splitlines()}
        except OSError:
            return None
        if self.broken:
            return None
        if ANY in lines:
            return frozenset((lines - {ANY}) | self._opened)
        return frozenset(lines | {path for path in self._opened if not path.endswith(".py")})

    def end(self) -> None:
        """End the watch."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextmanager
def watch_opened(roots: Sequence[Path]) -> Iterator[OpenWatch]:
    """Yield a watch of the files below some folders, begun; without any, it is broken."""
    watch = OpenWatch([os.path.realpath(root) for root in roots])
    try:
        if roots:
            watch.begin()
        yield watch
    finally:
        watch.end()


def _folders_below(root: str) -> Iterator[str]:
    for folder, _, _ in os.walk(root):
        yield folder
