"""Find which line of the user's code is running.

The stack is walked outwards past torch, porter and the standard library, and only when an event is
recorded (2.5 us with the memo of code objects), never per op.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import torch

_FOREIGN_PREFIXES = (
    str(Path(torch.__file__).parent) + "/",
    str(Path(__file__).resolve().parents[1]) + "/",  # porter itself
    sysconfig.get_path("stdlib") + "/",
    "<",  # <string>, <frozen importlib._bootstrap>, generated code
)
_INSTALLED_FOLDERS = ("/site-packages/", "/dist-packages/")

FOREIGN, USER, INSTALLED = range(3)
"""Whose code it is: torch's, porter's or Python's; the user's; an installed package's."""

code_kinds: dict[CodeType, int] = {}
"""The kinds of the code objects met so far (:func:`kind_of`)."""


class Site(NamedTuple):
    """A line of source: absolute file name and line number."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def source(self) -> str:
        """The source line, stripped; empty when the file cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def relative_to(self, folder: Path | None) -> Site:
        """The same site with its file named relative to ``folder``, when it lies inside."""
        if folder is None:
            return self
        try:
            return Site(Path(self.file).relative_to(folder).as_posix(), self.line)
        except ValueError:
            return self


UNKNOWN = Site("<unknown>", 0)


def kind_of(code: CodeType) -> int:
    """Return FOREIGN, USER or INSTALLED, and remember it in :data:`code_kinds`."""
    name = code.co_filename
    kind = USER
    if name.startswith(_FOREIGN_PREFIXES):
        kind = FOREIGN
    elif any(folder in name for folder in _INSTALLED_FOLDERS):
        kind = INSTALLED
    code_kinds[code] = kind
    return kind


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame of user code at or above the caller.

    Packages in ``site-packages`` count as user code only when no other user frame is found, so that
    an op called by an installed library is charged to the script that called the library.
    """
    frame: FrameType | None = sys._getframe(depth)
    installed: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        kind = code_kinds.get(code)
        if kind is None:
            kind = kind_of(code)
        if kind:
            if kind == USER:
                return frame
            installed = installed or frame
        frame = frame.f_back
    return installed


def user_site(depth: int = 1) -> Site:
    """Return the innermost line of user code at or above the caller (:func:`user_frame`)."""
    frame = user_frame(depth + 1)
    return UNKNOWN if frame is None else Site(frame.f_code.co_filename, frame.f_lineno)
