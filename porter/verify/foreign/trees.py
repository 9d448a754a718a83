"""A foreign tree above the levels of a port, as :class:`porter.verify.plan.trees.Trees`.

Its files are stored as git objects in the repository that the store has of the port's upstream, so
that it is written, shared and cached as a level is. `porter gc` frees the objects again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from porter.device import DEVICES
from porter.errors import BadInput
from porter.git.objects import MODE_LINK, MODE_SUBMODULE, Entry, Oid
from porter.levels.level_name import find_level
from porter.places import patches_dir
from porter.series.series import SERIES_FILE
from porter.upstream.needs import Needs
from porter.upstream.pins import tree_objects
from porter.upstream.snapshot import leads_out
from porter.verify.foreign.files import (
    Files,
    ForeignFiles,
    is_below_a_file,
    names_files,
    open_files,
)
from porter.verify.plan.port_trees import UpstreamTrees
from porter.verify.plan.trees import ForeignLevel, LevelTree, NamedLevel, SeriesTrees, Trees
from porter.verify.recipe.schema import UPSTREAM


class ForeignTrees:
    """The levels of ``port`` with the foreign tree as the last; other ports' are as they are.

    The port's own levels are known by name, and built only when a run needs one of them.
    """

    def __init__(self, trees: UpstreamTrees, port: str, files: ForeignFiles) -> None:
        self.own = trees
        self.port = port
        self._files = files

    @cached_property
    def level(self) -> ForeignLevel:
        """The foreign tree. Raises NotReachable and BadInput."""
        number = len(self.names)
        tree = self._folders[b""][0]
        pin = self.own.pins.port(self.port)
        return ForeignLevel(number, f"tree:{self._files.name}", tree, upstream=str(pin.tree))

    @property
    def source(self) -> str:
        """The tree as a command line names it."""
        return self._files.source

    @cached_property
    def links_out(self) -> tuple[str, ...]:
        """The links that lead out of the tree, which is read without them."""
        links = {path: e for path, e in self._files.entries.items() if e.mode == MODE_LINK}
        contents = self._files.read(links)
        found = [p for p, e in links.items() if leads_out(p, contents.get(e.oid, b""))]
        return tuple(map(os.fsdecode, found))

    @cached_property
    def submodules_out(self) -> tuple[str, ...]:
        """The submodules without files here that no pin of the port has either."""
        pinned = self.own.pins.port(self.port).submodules
        known = self.own.upstream(self.port).listing()
        found = [p for p, e in self._entries.items() if e.mode == MODE_SUBMODULE]
        return tuple(
            os.fsdecode(p) for p in found if p not in known and os.fsdecode(p) not in pinned
        )

    def holds(self, path: bytes) -> bool:
        """Whether the tree has a file at ``path``."""
        return path in self._entries

    @cached_property
    def names(self) -> tuple[NamedLevel, ...]:
        """The levels of the port's series. Raises BadInput for an invalid series."""
        return series_names(self.own, self.port)

    def levels(self, port: str) -> tuple[LevelTree, ...]:
        if port != self.port:
            return self.own.levels(port)
        return (*self.names, self.level)

    def find(self, port: str, text: str) -> LevelTree:
        return find_level(self.levels(port), text)

    def folder(self, port: str, level: LevelTree, needs: tuple[str, ...]) -> Path:
        """See :class:`porter.verify.plan.trees.Trees`."""
        if port != self.port:
            return self.own.folder(port, level, needs)
        if level.number == self.level.number:
            also = self._changed(needs)
            self._store(needs, also)
            return self.own.tree_folder(port, self.level, needs, also)
        if level.number == 0:
            return self.own.tree_folder(port, self.names[0], needs)
        return self.own.folder(port, self.own.levels(port)[level.number], needs)

    def mend(self, folder: Path) -> str:
        """See :class:`porter.verify.plan.trees.Trees`."""
        return self.own.mend(folder)

    @cached_property
    def _entries(self) -> Files:
        """The files, without links that lead out, and with the pin's submodules where the tree
        holds nothing."""
        out = {os.fsencode(path) for path in self.links_out}
        entries = {path: e for path, e in self._files.entries.items() if path not in out}
        pins = self.own.pins
        for where, name in pins.port(self.port).submodules.items():
            path = where.encode()
            is_there = any(known.startswith(path + b"/") or known == path for known in entries)
            if not is_there and not is_below_a_file(path, entries):
                commit = self._submodule_commit(path) or pins.port(name).commit
                entries[path] = Entry(MODE_SUBMODULE, Oid(str(commit)))
        return entries

    @cached_property
    def _folders(self) -> dict[bytes, tuple[Oid, bytes]]:
        """Id and body of every tree object."""
        return tree_objects(self._entries)

    def _submodule_commit(self, path: bytes) -> Oid | None:
        entry = self.own.upstream(self.port).listing().get(path)
        return None if entry is None else entry.oid

    def _changed(self, needs: tuple[str, ...]) -> frozenset[bytes]:
        """Return the files that differ from level 0's, but for documents and what a recipe takes
        out by name."""
        known = self.own.upstream(self.port).listing()
        wanted = Needs(tuple(entry for entry in needs if entry.startswith("!")))
        return frozenset(
            path
            for path, entry in self._entries.items()
            if entry.is_blob and known.get(path) != entry and wanted.takes(os.fsdecode(path))
        )

    def _store(self, needs: tuple[str, ...], also: frozenset[bytes]) -> None:
        """Write the tree, and the files of it that a run needs, into the store."""
        upstream, wanted = self.own.upstream(self.port), Needs(needs)
        files: Mapping[bytes, Entry] = {
            path: entry
            for path, entry in self._entries.items()
            if entry.is_blob and (path in also or wanted.takes(os.fsdecode(path)))
        }
        there = upstream.present(entry.oid for entry in files.values())
        lacking = {path: entry for path, entry in files.items() if entry.oid not in there}
        objects = [("tree", body) for _, body in self._folders.values()]
        objects += [("blob", body) for body in self._files.read(lacking).values()]
        upstream.odb.write(objects)


def with_foreign(
    trees: UpstreamTrees, port: str, texts: Sequence[str]
) -> tuple[Trees, tuple[str, ...]]:
    """Return trees in which each of ``texts`` (LEVEL or LEVEL@DEVICE) names a level, and how.

    A level may be a folder, or FOLDER@REV; the name of a level of the port is always that level.
    Raises BadInput for more than one folder, and as :func:`open_files` does.
    """
    found: dict[int, tuple[str, str]] = {}
    for at, text in enumerate(texts):
        name, _, on = text.rpartition("@")
        name, on = (name, f"@{on}") if on in DEVICES else (text, "")
        if names_files(name) and not _is_level(trees, port, name):
            found[at] = name, on
    if not found:
        return trees, tuple(texts)
    if len({name for name, _ in found.values()}) > 1:
        raise BadInput(
            f"{' '.join(texts)}: expected a level of {port} among them, found two folders"
        )
    name = next(iter(found.values()))[0]
    above = ForeignTrees(trees, port, open_files(name, Path()))
    number = above.level.number
    return above, tuple(
        f"{number}{found[at][1]}" if at in found else text for at, text in enumerate(texts)
    )


def _is_level(trees: UpstreamTrees, port: str, text: str) -> bool:
    try:
        find_level(series_names(trees, port), text)
    except BadInput:
        return False
    return True


def series_names(trees: UpstreamTrees, port: str) -> tuple[NamedLevel, ...]:
    """Return the levels of a port's series by name; without a series level 0 alone.

    Raises BadInput for an invalid series.
    """
    if (patches_dir(trees.root, port) / SERIES_FILE).exists():
        return SeriesTrees(trees.root, trees.pins).levels(port)
    return (NamedLevel(0, UPSTREAM, str(trees.pins.port(port).tree)),)
