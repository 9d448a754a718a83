"""Where the trees come from that probes run on: every level of a port as a plain folder.

Verification knows only :class:`Trees`; :mod:`porter.verify.plan.port_trees` takes them from the
store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

LAST = "last"
"""A companion's level: its newest."""


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
    """No source that answers here covers what is needed; the text says which and why, in short.

    ``detail`` says it at length. ``fault``: a source answered with something else than is pinned.
    """

    def __init__(self, reason: str, detail: str = "", *, fault: bool = False) -> None:
        super().__init__(reason)
        self.detail = detail or reason
        self.fault = fault


class UselessNeed(Exception):
    """An entry of ``needs`` that takes in no file of any level."""

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

        Raises BadInput when there is none, and NotReachable.
        """
        ...

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """Return a folder that holds the level's files under ``needs`` (none: all of them).

        Raises NotReachable, naming what is not covered, and UselessNeed.
        """
        ...
