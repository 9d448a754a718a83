"""Real upstream files for tests marked ``upstream``, or a skip with the reason.

A source may serve only a part of its upstream (a release holds the library and not the scripts), so
that an upstream can be opened says nothing about its files. A test therefore asks here for those it
reads, and asks for no more, so that it runs wherever they are served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
import pytest

from porter.errors import SourceUnavailable
from porter.levels.levels import Level
from porter.upstream.pins import load_pins
from porter.upstream.store import Upstream, open_upstream
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.trees import NotReachable


class Served:
    """The files that the sources of a project's pins serve here."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._pins = load_pins(root)
        self._trees = UpstreamTrees(root, self._pins)
        self._opened: dict[str, Upstream] = {}

    def close(self) -> None:
        """End the reading processes of everything opened."""
        self._trees.close()
        for upstream in self._opened.values():
            upstream.close()

    def upstream(self, name: str, *paths: str) -> Upstream:
        """Open an upstream with the files at and under ``paths`` in the store."""
        if name not in self._opened:
            try:
                self._opened[name] = open_upstream(self._root, self._pins.port(name))
            except SourceUnavailable as error:
                pytest.skip(str(error))
        opened = self._opened[name]
        chosen = msgspec.structs.replace(opened.pin, wanted=paths)
        wanted = {path for path in opened.listing() if paths and chosen.wants(path)}
        self._expect(opened, wanted, least=len(wanted))
        return opened

    def covered(self, name: str, paths: Iterable[bytes]) -> set[bytes]:
        """Return those of the upstream's ``paths`` that are served; at least one must be."""
        opened = self.upstream(name)
        return self._expect(opened, [path for path in paths if path in opened.listing()], least=1)

    def _expect(self, opened: Upstream, paths: Collection[bytes], least: int) -> set[bytes]:
        oids = {p: opened.listing()[p].oid for p in paths if opened.listing()[p].is_blob}
        reasons = opened.bring(oids.values())
        present = opened.present(oids.values())
        found = {path for path, oid in oids.items() if oid in present}
        if len(found) < min(least, len(oids)):
            pytest.skip(str(opened.not_served(set(oids.values()) - present, reasons)))
        return found

    def levels(self, port: str) -> tuple[Level, ...]:
        """Return a port's levels; their ids are exact with any source."""
        try:
            return self._trees.levels(port)
        except NotReachable as error:
            pytest.skip(f"{port}: {error}")

    def folder(self, port: str, level: int, *needs: str) -> Path:
        """Return a read-only folder with the files of a level at and under ``needs``."""
        built = self.levels(port)[level]
        try:
            return self._trees.tree_folder(port, built, needs)
        except NotReachable as error:
            pytest.skip(f"{port}: {error}")
