"""The levels of ports by number and name, from their series alone: for plans that run nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from porter.levels.level_name import find_level
from porter.series.series import load_series
from porter.verify.recipe_model import UPSTREAM
from porter.verify.trees import LevelTree


@dataclass(frozen=True)
class NamedLevel:
    """A level whose tree nobody built: ``tree`` is empty."""

    number: int
    name: str
    tree: str = ""


class SeriesTrees:
    """:class:`porter.verify.trees.Trees` without store and sources; its folders are not there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._levels: dict[str, tuple[NamedLevel, ...]] = {}

    def levels(self, port: str) -> tuple[NamedLevel, ...]:
        """See :class:`porter.verify.trees.Trees`. Raises BadInput for a series that is wrong."""
        if port not in self._levels:
            names = (UPSTREAM, *(patch.level for patch in load_series(self._root, port).patches))
            self._levels[port] = tuple(NamedLevel(n, name) for n, name in enumerate(names))
        return self._levels[port]

    def find(self, port: str, text: str) -> LevelTree:
        """See :class:`porter.verify.trees.Trees`."""
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:  # noqa: ARG002
        """Return where no file is: a plan that runs nothing looks at none."""
        return self._root / "patches" / port / str(level.number)
