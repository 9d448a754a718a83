"""Cheap marks of "which user line is this", resolved to file and line only when printed.

A line number costs half a microsecond to read from a frame, the pair (code object, instruction
offset) a tenth of that. So recording keeps pairs, and :func:`site_of` turns one into a
:class:`~porter.interception.source_lines.Site` when a report asks.

An op of the backward pass has no user line of its own but ``loss.backward()``. Autograd numbers its
nodes in the order the forward pass made them, and the number of the node being run is known during
the backward pass, so an op there can be charged to the forward line whose node it belongs to.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import NamedTuple

import torch

from porter.interception import source_lines as sites
from porter.interception.source_lines import UNKNOWN, Site

_next_sequence_number = torch._C._autograd._get_sequence_nr
_running_node = torch._C._current_autograd_node


class Spot(NamedTuple):
    """A place in running code: the code object and the instruction's offset in it."""

    code: CodeType
    offset: int


_FOREIGN, _USER, _INSTALLED = range(3)
_kinds: dict[CodeType, int] = {}
_depths: dict[CodeType, tuple[int, ...]] = {}
"""By the code of the innermost foreign frame (``Conv2d._conv_forward``): how many frames further
out the user's was found, nearest first."""


def _kind_of(code: CodeType) -> int:
    known = sites._is_user_code.get(code)
    is_user = sites._judge(code) if known is None else known
    kind = _FOREIGN
    if is_user:
        is_installed = any(part in code.co_filename for part in sites._INSTALLED)
        kind = _INSTALLED if is_installed else _USER
    _kinds[code] = kind
    return kind


def user_spot(depth: int = 1) -> Spot | None:
    """Return the innermost user frame at or above the caller (see :func:`~.sites.user_site`)."""
    frame: FrameType | None = sys._getframe(depth)
    installed: Spot | None = None
    while frame is not None:
        code = frame.f_code
        kind = _kinds.get(code)
        if kind is None:
            kind = _kind_of(code)
        if kind:
            spot = Spot(code, frame.f_lasti)
            if kind == _USER:
                return spot
            installed = installed or spot
        frame = frame.f_back
    return installed


def quick_user_spot(depth: int = 1) -> Spot | None:
    """:func:`user_spot` for where it is wanted for every op: looks first where the user's frame was
    found before for the same innermost frame, skipping those between (a frame costs 0.2 us)."""
    inner = sys._getframe(depth)
    code = inner.f_code
    kind = _kinds.get(code)
    if kind is None:
        kind = _kind_of(code)
    if kind == _USER:
        return Spot(code, inner.f_lasti)
    for further in _depths.get(code, ()):
        try:
            frame = sys._getframe(depth + further)
        except ValueError:
            break
        if _kinds.get(frame.f_code) == _USER:
            return Spot(frame.f_code, frame.f_lasti)
    return _walk_and_learn(inner)


def _walk_and_learn(inner: FrameType) -> Spot | None:
    further, frame = 0, inner.f_back
    while frame is not None:
        further += 1
        code = frame.f_code
        kind = _kinds.get(code)
        if kind is None:
            kind = _kind_of(code)
        if kind == _USER:
            known = {*_depths.get(inner.f_code, ()), further}
            if len(known) <= 4:
                _depths[inner.f_code] = tuple(sorted(known))
            return Spot(code, frame.f_lasti)
        frame = frame.f_back
    return user_spot(3)


def site_of(spot: Spot | None) -> Site:
    """Return the file and line of a spot."""
    if spot is None:
        return UNKNOWN
    line = spot.code.co_firstlineno
    for start, end, at in spot.code.co_lines():
        if start <= spot.offset < end and at is not None:
            return Site(spot.code.co_filename, at)
    return Site(spot.code.co_filename, line)


class ForwardSpots:
    """The user lines of forward ops by autograd sequence number, for charging backward ops to them.

    Bounded: the oldest half is dropped when ``limit`` is reached (a training step needs only its
    own).
    """

    def __init__(self, limit: int = 1 << 16) -> None:
        self._limit = limit
        self._spots: dict[int, Spot | None] = {}
        self.seen = -1
        """Autograd's next sequence number when :meth:`note` was last called: while it has not
        moved no node was made, and there is nothing to note."""

    def note(self, depth: int = 1) -> Spot | None:
        """Remember, and return, the user line of the op being dispatched, for which autograd just
        made a node. Nothing is remembered within a backward pass.
        """
        self.seen = _next_sequence_number()
        if _running_node() is not None:
            return None
        if len(self._spots) >= self._limit:
            for old in list(self._spots)[: self._limit // 2]:
                del self._spots[old]
        spot = self._spots[self.seen - 1] = quick_user_spot(depth + 1)
        return spot

    def of_op(self, depth: int = 1) -> Spot | None:
        """Return the spot to charge the op being dispatched to; for use at many ops."""
        if _next_sequence_number() != self.seen:
            noted = self.note(depth + 1)
            if noted is not None:
                return noted
        node = _running_node()
        if node is not None:
            forward = self._spots.get(node._sequence_nr())
            if forward is not None:
                return forward
        return quick_user_spot(depth + 1)

    def here(self, depth: int = 1) -> Spot | None:
        """Return the spot to charge an event to now: the forward line while in a backward pass."""
        node = _running_node()
        if node is not None:
            forward = self._spots.get(node._sequence_nr())
            if forward is not None:
                return forward
        return user_spot(depth + 1)
