"""The trees of real ports: pins, store, series and levels, as verification needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from porter.errors import BadInput, SourceUnavailable
from porter.git.objects import Oid
from porter.levels.levels import Level, build_levels, find_level
from porter.series.series import load_series
from porter.upstream.failure import short_reason
from porter.upstream.gitfetch import Progress
from porter.upstream.pins import Pins, load_pins
from porter.upstream.snapshot import cached_tree, wanted_inside
from porter.upstream.store import Coverage, Upstream, open_upstream
from porter.verify.trees import LevelTree, NotReachable


class UpstreamTrees:
    """Every port's levels, built once; folders come from the cache's shared read-only trees."""

    def __init__(self, root: Path, pins: Pins) -> None:
        self.progress: Progress | None = None
        self._root = root
        self._pins = pins
        self._upstreams: dict[str, Upstream] = {}
        self._levels: dict[str, tuple[Level, ...]] = {}
        self._refused: dict[str, str] = {}
        self._folders: dict[tuple[str, str, tuple[str, ...]], Path] = {}

    def close(self) -> None:
        """End the reading processes of every opened upstream."""
        for upstream in self._upstreams.values():
            upstream.close()

    def levels(self, port: str) -> tuple[Level, ...]:
        """See :class:`porter.verify.trees.Trees`."""
        if port in self._refused:
            raise NotReachable(self._refused[port])
        if port not in self._levels:
            try:
                upstream = open_upstream(self._root, self._pins.port(port), progress=self.progress)
                self._upstreams[port] = upstream
                series = load_series(self._root, port)
                self._levels[port] = build_levels(upstream, series, write=True)
            except SourceUnavailable as error:
                self._refused[port] = str(error).removeprefix(f"{port}: ")
                raise NotReachable(self._refused[port]) from error
        return self._levels[port]

    def find(self, port: str, text: str) -> Level:
        """See :class:`porter.verify.trees.Trees`."""
        return find_level(self.levels(port), text)

    def blob(self, port: str, oid: Oid) -> bytes:
        """Return the content of a file of one of a port's levels.

        Raises SourceUnavailable for one that no source serves.
        """
        self.levels(port)
        return self._upstreams[port].blobs([oid])[oid]

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.trees.Trees`. Submodules that ``needs`` wants are in it."""
        key = (port, level.tree, needs)
        if key not in self._folders:
            own = self.levels(port)[level.number]
            upstream = self._upstreams[port]
            submodules = self._submodules(upstream, own, needs)
            folder, coverage = cached_tree(upstream, own.tree, needs or None, submodules)
            if coverage.missing:
                raise NotReachable(_not_covered(level, coverage))
            self._folders[key] = folder
        return self._folders[key]

    def _submodules(
        self, upstream: Upstream, level: Level, needs: tuple[str, ...]
    ) -> dict[str, Upstream]:
        """Open the submodules that stand in the level's tree and that ``needs`` wants."""
        wanted = {
            path: name
            for path, name in upstream.pin.submodules.items()
            if wanted_inside(path, needs or None) != []
        }
        if not wanted:
            return {}
        entries = upstream.odb.flat(level.tree)
        found = {}
        for path, name in wanted.items():
            entry = entries.get(path.encode())
            if entry is None or entry.is_blob:
                continue  # the level took it out
            if name not in self._upstreams:
                pin = self._pins.port(name)
                try:
                    opened = open_upstream(self._root, pin, progress=self.progress)
                except SourceUnavailable as error:
                    raise NotReachable(f"submodule {path}: {error}") from error
                self._upstreams[name] = opened
            found[path] = self._upstreams[name]
            if entry.oid != found[path].commit:
                expected = f"commit {entry.oid}, as level {level.number} names it"
                told = f"submodule {path}: expected {expected}, found {found[path].commit}"
                raise BadInput(f"{told} in the pin {name}")
        return found


@contextmanager
def open_trees(root: Path) -> Iterator[UpstreamTrees]:
    """Open the project's trees; close what they opened at the end."""
    trees = UpstreamTrees(root, load_pins(root))
    try:
        yield trees
    finally:
        trees.close()


def _not_covered(level: LevelTree, coverage: Coverage) -> str:
    names: Sequence[str] = [path.decode(errors="replace") for path in coverage.missing]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    why = short_reason(coverage.reasons) or "the sources that answer hold other files"
    return f"level {level.number}: not covered: {', '.join(names[:2])}{more} ({why})"
