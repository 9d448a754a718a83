"""Interface to the trees that probes run on: every level of a port as a plain folder.

Verification depends on :class:`Trees` alone; :mod:`porter.verify.plan.port_trees` implements it
with the store, :class:`SeriesTrees` without files, for plans that run nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.errors import PorterError
from porter.levels.level_name import find_level
from porter.levels.lock import read_lock
from porter.series.series import Series, load_series
from porter.upstream.pins import Pins
from porter.verify.recipe.schema import UPSTREAM

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


@dataclass(frozen=True)
class NamedLevel:
    """A level without its files; ``tree`` is "" where it is not known."""

    number: int
    name: str
    tree: str = ""
    off: bool = False


@dataclass(frozen=True)
class ForeignLevel(NamedLevel):
    """A tree that no series leads to (:mod:`porter.verify.foreign`), as a level above a port's own.

    A run gets the files that differ from ``upstream``, the tree of level 0, whatever the recipe
    needs.
    """

    upstream: str = ""


class NotReachable(Exception):
    """No source that answers has all that is needed; the message is short, ``detail`` is full.

    ``fault``: a source answered, but with something other than what is pinned.
    """

    def __init__(self, reason: str, detail: str = "", *, fault: bool = False) -> None:
        super().__init__(reason)
        self.detail = detail or reason
        self.fault = fault


class UselessNeed(Exception):
    """An entry of ``needs``, the exception's text, that matches no file of any level."""


class Trees(Protocol):
    """The levels of ports, and each of them as a folder."""

    def levels(self, port: str) -> Sequence[LevelTree]:
        """Return every level of a port, level 0 first. Raises NotReachable."""

    def find(self, port: str, text: str) -> LevelTree:
        """Return the level of that number, name or unique prefix.

        Raises BadInput if there is none, and NotReachable.
        """

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """Return a folder with the level's files that ``needs`` selects (empty: all of them).

        Raises NotReachable, naming the missing files, and UselessNeed.
        """

    def mend(self, folder: Path) -> str:
        """Compare a folder with the tree it holds, before a probe runs on it.

        A damaged one is written again. Return one line about that, else "".
        """


class SeriesTrees:
    """:class:`Trees` without store and sources; its folders do not exist.

    With ``pins`` None only the series are read, and no level knows its tree.
    """

    def __init__(self, root: Path, pins: Pins | None = None) -> None:
        self._root = root
        self._pins = pins
        self._levels: dict[str, tuple[NamedLevel, ...]] = {}
        self._series: dict[str, Series] = {}

    def series(self, port: str) -> Series:
        """Return a port's series, read once. Raises BadInput for an invalid one."""
        if port not in self._series:
            self._series[port] = load_series(self._root, port)
        return self._series[port]

    def levels(self, port: str) -> tuple[NamedLevel, ...]:
        """See :class:`Trees`. Raises BadInput for an invalid series."""
        if port not in self._levels:
            patches = self.series(port).patches
            trees = self._locked_trees(port)
            first = str(self._pins.port(port).tree) if self._pins else ""
            self._levels[port] = (
                NamedLevel(0, UPSTREAM, first),
                *(
                    NamedLevel(n, patch.level, trees.get(patch.level, ""), patch.off)
                    for n, patch in enumerate(patches, 1)
                ),
            )
        return self._levels[port]

    def _locked_trees(self, port: str) -> Mapping[str, str]:
        if self._pins is None:
            return {}
        try:
            lock = read_lock(self._root, port)
        except PorterError:
            return {}  # `porter check` reports what is wrong with it
        return {level.name: level.tree for level in lock.levels} if lock else {}

    def find(self, port: str, text: str) -> LevelTree:
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:  # noqa: ARG002
        """Return a path that does not exist: a plan that runs nothing reads no files."""
        return self._root / "patches" / port / str(level.number)

    def mend(self, folder: Path) -> str:  # noqa: ARG002
        """See :class:`Trees`; nothing runs on it."""
        return ""
