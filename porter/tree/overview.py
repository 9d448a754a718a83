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
from porter.levels.level_name import Broken, find_level
from porter.series.series import Patch, Series, load_series
from porter.tree.tree import (
    Position,
    Tree,
    TreeLevel,
    find_tree,
    position,
    project_of,
    series_changed,
    tree_around,
    tree_root,
)
from porter.upstream.pins import Pin, Pins, load_pins

if TYPE_CHECKING:
    from porter.levels.levels import Level


@dataclass(frozen=True)
class LevelView:
    """One level: number, name and patch (None for level 0), and its ids where they are known.

    ``applies`` is False from the first patch that fails on, None where the levels were not built.
    """

    number: int
    name: str
    patch: Patch | None
    commit: Oid | None
    tree: Oid | None
    applies: bool | None = None

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
    """A port's levels and, when viewed from a tree, the tree's position among them.

    ``broken`` says why the levels that do not apply do not.
    """

    root: Path
    pin: Pin
    pins: Pins
    levels: tuple[LevelView, ...]
    tree: Tree | None = None
    here: Position | None = None
    broken: Broken | None = None

    def level(self, text: str) -> LevelView:
        return find_level(self.levels, text)


def view_port(root: Path, port: str) -> PortView:
    """Return the levels of ``port``."""
    pins = load_pins(root)
    pin = pins.port(port)
    series = load_series(root, port)
    known, broken = _built(root, pin, series)
    return PortView(root, pin, pins, _views(series, known, broken), broken=broken)


def view_tree(start: Path | str | None) -> PortView:
    """Return the levels of the tree around ``start``."""
    tree = find_tree(start)
    root = tree_root(tree)
    pins = load_pins(root)
    pin = pins.port(tree.record.port)
    series = load_series(root, tree.record.port)
    known: Sequence[Level | TreeLevel] = tree.record.levels
    broken = tree.record.broken
    if series_changed(tree):
        known, broken = _built(root, pin, series)
    views = _views(series, known, broken)
    return PortView(root, pin, pins, views, tree, position(tree), broken)


def view(start: Path | str | None, port: str | None) -> PortView:
    """Return the levels of ``port`` if named, else of the tree around ``start``."""
    if port is None:
        return view_tree(start)
    if start is not None:
        raise BadInput("expected -C DIR or --port PORT, found both")
    return view_port(project_of(tree_around()), port)


def _views(
    series: Series, known: Sequence[Level | TreeLevel], broken: Broken | None
) -> tuple[LevelView, ...]:
    """Combine the series with the known levels; none are known where they were not built."""
    names = ["upstream", *(patch.level for patch in series.patches)]
    patches = (None, *series.patches)
    views = []
    for number, (name, patch) in enumerate(zip(names, patches, strict=True)):
        if number < len(known):
            level = known[number]
            views.append(LevelView(number, name, patch, level.commit, level.tree, True))
        else:
            applies = False if broken is not None else None
            views.append(LevelView(number, name, patch, None, None, applies))
    return tuple(views)


def _built(root: Path, pin: Pin, series: Series) -> tuple[tuple[Level, ...], Broken | None]:
    """Return the levels, and those that cannot be built; neither if it would need fetching."""
    from porter.levels.levels import build_series
    from porter.upstream.store import open_upstream

    try:
        with open_upstream(root, pin, offline=True) as upstream:
            built = build_series(upstream, series)
            return built.levels, built.broken(series.port)
    except PorterError:
        return (), None
