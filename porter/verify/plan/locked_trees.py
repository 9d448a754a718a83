"""Levels of ports read from pins, series and locks, for plans that run nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.errors import PorterError
from porter.levels.level_name import find_level
from porter.levels.lock import read_lock
from porter.series.series import load_series
from porter.upstream.pins import Pins, load_pins
from porter.verify.plan.trees import LevelTree
from porter.verify.recipe.schema import UPSTREAM


@dataclass(frozen=True)
class NamedLevel:
    """A level that is not built: ``tree`` is from the lock, or empty."""

    number: int
    name: str
    tree: str = ""
    off: bool = False


class SeriesTrees:
    """:class:`porter.verify.plan.trees.Trees` without store and sources; its folders do not exist.

    With ``pins`` None only the series are read, and no level knows its tree.
    """

    def __init__(self, root: Path, pins: Pins | None = None) -> None:
        self._root = root
        self._pins = pins
        self._levels: dict[str, tuple[NamedLevel, ...]] = {}

    @classmethod
    def locked(cls, root: Path) -> SeriesTrees:
        """Return the trees of a project, with ids from its pins and locks."""
        return cls(root, load_pins(root))

    def levels(self, port: str) -> tuple[NamedLevel, ...]:
        """See :class:`porter.verify.plan.trees.Trees`. Raises BadInput for an invalid series."""
        if port not in self._levels:
            patches = load_series(self._root, port).patches
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
        """See :class:`porter.verify.plan.trees.Trees`."""
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:  # noqa: ARG002
        """Return a path that does not exist: a plan that runs nothing reads no files."""
        return self._root / "patches" / port / str(level.number)
