"""Which line of the user's code is running.

Found by walking the stack outwards past torch, porter and the standard library, and paid for only
when an event is recorded (2.5 us with the memo of code objects), never per op.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import torch

_FOREIGN = (
    str(Path(torch.__file__).parent) + "/",
    str(Path(__file__).resolve().parents[1]) + "/",  # porter itself
    sysconfig.get_path("stdlib") + "/",
    "<",  # <string>, <frozen importlib._bootstrap>, generated code
)
_INSTALLED = ("/site-packages/", "/dist-packages/")

_is_user_code: dict[CodeType, bool] = {}


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


def _judge(code: CodeType) -> bool:
    name = code.co_filename
    user = not name.startswith(_FOREIGN)
    _is_user_code[code] = user
    return user


def user_site(depth: int = 1) -> Site:
    """Return the innermost line of user code at or above the caller.

    Packages in ``site-packages`` count as user code only when no other user frame is found, so that
    an op called by an installed library is charged to the script that called the library.
    """
    frame: FrameType | None = sys._getframe(depth)
    installed: Site | None = None
    while frame is not None:
        code = frame.f_code
        known = _is_user_code.get(code)
        if known or (known is None and _judge(code)):
            site = Site(code.co_filename, frame.f_lineno)
            if not any(part in site.file for part in _INSTALLED):
                return site
            installed = installed or site
        frame = frame.f_back
    return installed or UNKNOWN
