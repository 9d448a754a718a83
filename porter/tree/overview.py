"""The levels of a port for display, from the series alone and without a work tree.

Object ids are added where they are known without fetching: from the current tree, or by building
the levels in memory when the store holds the upstream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput, PorterError
from porter.git.objects import Oid
from porter.levels.level_name import find_level
from porter.series.series import Patch, Series, load_series
from porter.tree.tree import (
    Position,
    Tree,
    TreeLevel,
    find_tree,
    position,
    project_of,
    tree_around,
    tree_root,
)
from porter.upstream.pins import Pin, Pins, load_pins

if TYPE_CHECKING:
    from porter.levels.levels import Level


@dataclass(frozen=True)
class LevelView:
    """One level: number, name and patch (None for level 0), and its ids where they are known."""

    number: int
    name: str
    patch: Patch | None
    commit: Oid | None
    tree: Oid | None

    @property
    def subject(self) -> str:
        return self.patch.header.subject if self.patch else "pristine upstream"

    @property
    def devices(self) -> tuple[str, ...]:
        return self.patch.header.devices if self.patch else ()

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The paths the patch touches."""
        if self.patch is None:
            return ()
        return tuple(sorted({path for file in self.patch.files for path in file.paths}))


@dataclass(frozen=True)
class PortView:
    """A port's levels and, when viewed from a tree, the tree's position among them."""

    root: Path
    pin: Pin
    pins: Pins
    levels: tuple[LevelView, ...]
    tree: Tree | None = None
    here: Position | None = None

    def level(self, text: str) -> LevelView:
        return find_level(self.levels, text)


def view_port(root: Path, port: str) -> PortView:
    """Return the levels of ``port``."""
    pins = load_pins(root)
    pin = pins.port(port)
    series = load_series(root, port)
    return PortView(root, pin, pins, _views(series, _built(root, pin, series)))


def view_tree(start: Path | str | None) -> PortView:
    """Return the levels of the tree around ``start``."""
    tree = find_tree(start)
    root = tree_root(tree)
    pins = load_pins(root)
    pin = pins.port(tree.record.port)
    series = load_series(root, tree.record.port)
    views = _views(series, tree.record.levels)
    return PortView(root, pin, pins, views, tree, position(tree))


def view(start: Path | str | None, port: str | None) -> PortView:
    """Return the levels of ``port`` if named, else of the tree around ``start``."""
    if port is None:
        return view_tree(start)
    if start is not None:
        raise BadInput("expected -C DIR or --port PORT, found both")
    return view_port(project_of(tree_around()), port)


def _views(series: Series, known: Sequence[Level | TreeLevel]) -> tuple[LevelView, ...]:
    """Combine the series with the known levels, which are ignored if of another series."""
    names = ["upstream", *(patch.level for patch in series.patches)]
    ids: list[tuple[Oid | None, Oid | None]] = [(level.commit, level.tree) for level in known]
    if [level.name for level in known] != names:
        ids = [(None, None)] * len(names)
    patches = (None, *series.patches)
    rows = zip(names, patches, ids, strict=True)
    return tuple(LevelView(n, name, patch, *both) for n, (name, patch, both) in enumerate(rows))


def _built(root: Path, pin: Pin, series: Series) -> tuple[Level, ...]:
    """Return the levels if they can be built without fetching; nothing otherwise."""
    from porter.levels.levels import build_levels
    from porter.upstream.store import open_upstream

    try:
        with open_upstream(root, pin, offline=True) as upstream:
            return build_levels(upstream, series)
    except PorterError:
        return ()
