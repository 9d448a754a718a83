"""Interface to the trees that probes run on: every level of a port as a plain folder.

Verification depends on :class:`Trees` alone; :mod:`porter.verify.plan.port_trees` implements it
with the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

LAST = "last"
"""Selects a companion's newest level."""


class LevelTree(Protocol):
    """What verification needs of a level."""

    @property
    def number(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def tree(self) -> str: ...
    @property
    def off(self) -> bool: ...


class NotReachable(Exception):
    """No source that answers has all that is needed; the message is short, ``detail`` is full.

    ``fault``: a source answered, but with something other than what is pinned.
    """

    def __init__(self, reason: str, detail: str = "", *, fault: bool = False) -> None:
        super().__init__(reason)
        self.detail = detail or reason
        self.fault = fault


class UselessNeed(Exception):
    """An entry of ``needs`` that matches no file of any level."""

    def __init__(self, entry: str) -> None:
        super().__init__(entry)
        self.entry = entry


class Trees(Protocol):
    """The levels of ports, and each of them as a folder."""

    def levels(self, port: str) -> Sequence[LevelTree]:
        """Return every level of a port, level 0 first. Raises NotReachable."""
        ...

    def find(self, port: str, text: str) -> LevelTree:
        """Return the level of that number, name or unique prefix.

        Raises BadInput if there is none, and NotReachable.
        """
        ...

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """Return a folder with the level's files that ``needs`` selects (empty: all of them).

        Raises NotReachable, naming the missing files, and UselessNeed.
        """
        ...
