"""Trees of real ports, built from pins, store and series."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import BadInput, CheckFailed, SourceUnavailable
from porter.git.objects import Oid
from porter.levels.levels import ApplyFailed, Level, build_levels, find_level
from porter.series.series import load_series
from porter.upstream.failure import SourceFailure, short_reason
from porter.upstream.gitfetch import Progress
from porter.upstream.needs import Needs, is_useful
from porter.upstream.pins import GitSource, Pin, Pins, Sdist, load_pins
from porter.upstream.snapshot import Snapshots, gather_tree
from porter.upstream.spare_cache import usable_cache
from porter.upstream.store import FileCoverage, Upstream, open_upstream
from porter.verify.plan.trees import LevelTree, NotReachable, UselessNeed

Silent = Mapping[str, Mapping[GitSource | Sdist, SourceFailure]]
"""Pin -> its sources that are known not to answer, and why."""


@dataclass
class UpstreamTrees:
    """Every port's levels, built once; folders are the cache's shared read-only trees.

    With ``planning`` no folder is written, only checked that it could be. ``silent`` sources are
    not asked; with ``offline`` no source is.
    """

    root: Path
    pins: Pins
    planning: bool = False
    silent: Silent = field(default_factory=dict)
    offline: bool = False
    progress: Progress | None = None
    _upstreams: dict[str, Upstream] = field(default_factory=dict)
    _levels: dict[str, tuple[Level, ...]] = field(default_factory=dict)
    _refused: dict[str, SourceUnavailable] = field(default_factory=dict)
    _needs: dict[tuple[str, ...], Needs] = field(default_factory=dict)
    _useful: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)
    _touched: dict[str, frozenset[bytes]] = field(default_factory=dict)
    _folders: dict[tuple[str, str, tuple[str, ...], frozenset[bytes]], Path] = field(
        default_factory=dict
    )
    _loaded: set[str] = field(default_factory=set)
    _snapshots: Snapshots = field(default_factory=Snapshots)

    def close(self) -> None:
        """End the reading processes of every opened upstream."""
        for upstream in self._upstreams.values():
            upstream.close()

    def upstream(self, port: str) -> Upstream:
        """Return a port's upstream, opened. Raises NotReachable."""
        if port not in self._upstreams:
            if port in self._refused:
                raise _refused(self._refused[port])
            try:
                self._upstreams[port] = self._open(self.pins.port(port))
            except SourceUnavailable as error:
                self._refused[port] = error
                raise _refused(error) from error
        return self._upstreams[port]

    def levels(self, port: str) -> tuple[Level, ...]:
        if port in self._refused:
            raise _refused(self._refused[port])
        upstream = self.upstream(port)
        if port not in self._levels:
            try:
                series = load_series(self.root, port)
                levels = self._levels[port] = build_levels(upstream, series, write=True)
                self._touched[port] = frozenset(path for level in levels for path in level.files)
            except SourceUnavailable as error:
                self._refused[port] = error
                raise _refused(error) from error
            except ApplyFailed as error:  # which levels a recipe judges depends on all of them
                raise CheckFailed(f"{error}; recipes run once every level applies") from None
        return self._levels[port]

    def _open(self, pin: Pin) -> Upstream:
        silent = self.silent.get(pin.name)
        return open_upstream(
            self.root, pin, progress=self.progress, silent=silent, offline=self.offline
        )

    def find(self, port: str, text: str) -> Level:
        return find_level(self.levels(port), text)

    def blob(self, port: str, oid: Oid) -> bytes:
        """Return the content of a file of one of a port's levels.

        Raises SourceUnavailable for one that no source serves.
        """
        self.levels(port)
        return self._upstreams[port].blobs([oid])[oid]

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.plan.trees.Trees`. It includes submodules that ``needs``
        selects."""
        own = self.levels(port)[level.number]
        self._refuse_useless(self._upstreams[port], self._wanted(needs))
        return self.tree_folder(port, own, needs, self._touched[port])

    def tree_folder(
        self, port: str, level: LevelTree, needs: tuple[str, ...], also: Collection[bytes] = ()
    ) -> Path:
        """As :meth:`folder`, for any tree in the port's repository of the store; the series counts
        for nothing. ``also``: files of the tree that are taken whatever ``needs`` says.
        """
        key = (port, level.tree, needs, frozenset(also))
        if key not in self._folders:
            upstream, wanted = self.upstream(port), self._wanted(needs)
            if port not in self._loaded:  # the trees of all levels at once, not one after the other
                self._loaded.add(port)
                roots = [level.tree, *(own.tree for own in self._levels.get(port, ()))]
                upstream.odb.load_trees(map(Oid, roots))
            submodules = self._submodules(upstream, level, wanted)
            gathered = gather_tree(upstream, Oid(level.tree), wanted, submodules, also)
            if gathered.covered.missing:
                raise _not_covered(level, gathered.covered)
            self._folders[key] = Path() if self.planning else self._snapshots.folder(gathered)
        return self._folders[key]

    def mend(self, folder: Path) -> str:
        """See :class:`porter.verify.plan.trees.Trees`."""
        return self._snapshots.mend(folder)

    def _wanted(self, needs: tuple[str, ...]) -> Needs:
        return self._needs.setdefault(needs, Needs(needs))

    def _refuse_useless(self, upstream: Upstream, needs: Needs) -> None:
        """Raise UselessNeed for an entry that matches no file: an error that no run would show."""
        if (upstream.pin.name, needs.entries) in self._useful:
            return
        touched = self._touched[upstream.pin.name]
        paths = {os.fsdecode(path) for path in (*upstream.listing(), *touched)}
        for entry in needs.entries:
            if not is_useful(entry, paths, upstream.pin.submodules):
                raise UselessNeed(entry)
        self._useful.add((upstream.pin.name, needs.entries))

    def _submodules(
        self, upstream: Upstream, level: LevelTree, needs: Needs
    ) -> dict[str, Upstream]:
        """Open the submodules that are in the level's tree and that ``needs`` selects."""
        wanted = {
            path: name
            for path, name in upstream.pin.submodules.items()
            if needs.may_take_inside(path)
        }
        if not wanted:
            return {}
        entries = upstream.odb.flat(Oid(level.tree))
        found = {}
        for path, name in wanted.items():
            entry = entries.get(path.encode())
            if entry is None or entry.is_blob:
                continue  # the level removed it
            if name not in self._upstreams:
                pin = self.pins.port(name)
                try:
                    opened = self._open(pin)
                except SourceUnavailable as error:
                    raise _refused(error, f"submodule {path}: ") from error
                self._upstreams[name] = opened
            found[path] = self._upstreams[name]
            if entry.oid != found[path].commit:
                expected = f"commit {entry.oid}, as level {level.number} names it"
                found_there = f"{found[path].commit} in the pin {name}"
                raise BadInput(f"submodule {path}: expected {expected}, found {found_there}")
        return found


@contextmanager
def open_trees(root: Path) -> Iterator[UpstreamTrees]:
    """Open the project's trees for a block, in which the cache can be written or is stood in for.

    Whoever makes runs takes the cache's folder inside the block.
    """
    with usable_cache(), closing(UpstreamTrees(root, load_pins(root))) as trees:
        yield trees


def _refused(error: SourceUnavailable, before: str = "") -> NotReachable:
    detail = before + (error.detail or str(error))
    return NotReachable(before + error.reason, detail, fault=not error.away)


def _not_covered(level: LevelTree, coverage: FileCoverage) -> NotReachable:
    names: Sequence[str] = [path.decode(errors="replace") for path in coverage.missing]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    why = short_reason(coverage.reasons) or "the sources that answer hold other files"
    reasons = "; ".join(map(str, coverage.reasons)) or why
    return NotReachable(
        f"no {names[0]}{more}: {why}",
        f"level {level.number}: no source serves {', '.join(names)} ({reasons})",
    )
