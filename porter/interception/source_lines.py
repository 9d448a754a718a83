"""Find which line of the user's code is running.

The stack is walked outwards past torch, porter and the standard library, and only when an event is
recorded (2.5 us with the memo of code objects), never per op. At every op a mark is cheap enough: a
line number costs half a microsecond to read from a frame, the pair (code object, instruction
offset) a tenth of that. So recording keeps pairs, and :func:`site_of` turns one into a
:class:`Site` when a report needs it.

An op of the backward pass has no user line of its own but ``loss.backward()``. Autograd numbers its
nodes in the order the forward pass made them, and the number of the node being run is known during
the backward pass, so an op there can be charged to the forward line whose node it belongs to.
"""

from __future__ import annotations

import linecache
import sys
import sysconfig
import warnings
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

_MOST_MARKS = 1 << 16
_next_sequence_number = torch._C._autograd._get_sequence_nr
_running_node = torch._C._current_autograd_node

FOREIGN, USER, INSTALLED = range(3)
"""Whose code it is: torch's, porter's or Python's; the user's; an installed package's."""


class _CodeKinds(dict[CodeType, int]):
    """The kinds of code objects: FOREIGN, USER or INSTALLED, each found once."""

    def __missing__(self, code: CodeType) -> int:
        name = code.co_filename
        kind = USER
        if name.startswith(_FOREIGN_PREFIXES):
            kind = FOREIGN
        elif any(folder in name for folder in _INSTALLED_FOLDERS):
            kind = INSTALLED
        self[code] = kind
        return kind


code_kinds = _CodeKinds()


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


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame of user code at or above the caller.

    Packages in ``site-packages`` count as user code only when no other user frame is found, so that
    an op called by an installed library is charged to the script that called the library.
    """
    frame: FrameType | None = sys._getframe(depth)
    installed: FrameType | None = None
    while frame is not None:
        if kind := code_kinds[frame.f_code]:
            if kind == USER:
                return frame
            installed = installed or frame
        frame = frame.f_back
    return installed


def user_site(depth: int = 1) -> Site:
    """Return the innermost line of user code at or above the caller (:func:`user_frame`)."""
    frame = user_frame(depth + 1)
    return UNKNOWN if frame is None else Site(frame.f_code.co_filename, frame.f_lineno)


class CodeMark(NamedTuple):
    """A point in running code: the code object and the instruction's offset in it."""

    code: CodeType
    offset: int


_depths: dict[CodeType, tuple[int, ...]] = {}
"""By the code of the innermost frame (``Conv2d._conv_forward``): how many frames further out the
user's was found, nearest first."""


def user_mark(depth: int = 1) -> CodeMark | None:
    """Return the mark of the innermost user frame at or above the caller."""
    frame = user_frame(depth + 1)
    return None if frame is None else CodeMark(frame.f_code, frame.f_lasti)


def quick_user_mark(depth: int = 1) -> CodeMark | None:
    """:func:`user_mark` for use at every op.

    Looks first where the user's frame was found before for the same innermost frame, skipping those
    between (a frame costs 0.2 us).
    """
    inner = sys._getframe(depth)
    code = inner.f_code
    if code_kinds[code] == USER:
        return CodeMark(code, inner.f_lasti)
    for further in _depths.get(code, ()):
        try:
            frame = sys._getframe(depth + further)
        except ValueError:
            break
        if code_kinds.get(frame.f_code) == USER:
            return CodeMark(frame.f_code, frame.f_lasti)
    return _walk_and_learn(inner)


def _walk_and_learn(inner: FrameType) -> CodeMark | None:
    further, frame = 0, inner.f_back
    while frame is not None:
        further += 1
        code = frame.f_code
        if code_kinds[code] == USER:
            known = {*_depths.get(inner.f_code, ()), further}
            if len(known) <= 4:
                _depths[inner.f_code] = tuple(sorted(known))
            return CodeMark(code, frame.f_lasti)
        frame = frame.f_back
    return user_mark(3)


def site_of(mark: CodeMark | None) -> Site:
    """Return the file and line of a mark."""
    if mark is None:
        return UNKNOWN
    line = mark.code.co_firstlineno
    for start, end, at in mark.code.co_lines():
        if start <= mark.offset < end and at is not None:
            return Site(mark.code.co_filename, at)
    return Site(mark.code.co_filename, line)


class ForwardMarks:
    """The user lines of forward ops by autograd sequence number, for charging backward ops to them.

    Bounded: the oldest half is dropped at 65,536 (a training step needs only its own).
    """

    def __init__(self) -> None:
        self._marks: dict[int, CodeMark | None] = {}
        self.noted_number = -1
        """Autograd's next sequence number when :meth:`note` was last called: while it has not
        moved no node was made, and there is nothing to note."""

    def note(self, depth: int = 1) -> CodeMark | None:
        """Remember and return the user line of the op being dispatched.

        To be called when autograd has just made the op's node. Within a backward pass nothing is
        remembered.
        """
        self.noted_number = _next_sequence_number()
        if _running_node() is not None:
            return None
        if len(self._marks) >= _MOST_MARKS:
            for old in list(self._marks)[: _MOST_MARKS // 2]:
                del self._marks[old]
        mark = self._marks[self.noted_number - 1] = quick_user_mark(depth + 1)
        return mark

    def of_op(self, depth: int = 1) -> CodeMark | None:
        """Return the mark to charge the op being dispatched to; for use at many ops."""
        if _next_sequence_number() != self.noted_number:
            noted = self.note(depth + 1)
            if noted is not None:
                return noted
        return self._of_running_node() or quick_user_mark(depth + 1)

    def here(self, depth: int = 1) -> CodeMark | None:
        """Return the mark to charge an event to now: the forward line while in a backward pass."""
        return self._of_running_node() or user_mark(depth + 1)

    def _of_running_node(self) -> CodeMark | None:
        node = _running_node()
        return None if node is None else self._marks.get(node._sequence_nr())


def warn_once(warned: set[Site], site: Site, text: str) -> None:
    """Warn of a line of user code unless it is among ``warned``, as the caller's own warning."""
    if site not in warned:
        warned.add(site)
        warnings.warn(text, stacklevel=3)
