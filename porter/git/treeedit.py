"""Edit a git tree in memory; only touched folders are read and hashed again.

A level differs from the one below in a few files, so a handful of folders is decoded once and kept
for the whole series. A folder's rows are the exact bytes git hashes, in git's order; replacing a
file replaces one row, and a new tree id costs one join and one SHA-1 per folder up to the root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from porter.git.objects import MODE_TREE, Entry, Oid

ReadTree = Callable[[Oid], bytes]


class PathConflict(Exception):
    """A path needs a folder where a file is, or a file where a folder is."""


class _Folder:
    __slots__ = ("body", "folders", "oid", "rows", "sorted")

    def __init__(self, body: bytes | None, oid: Oid | None) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.folders: dict[bytes, _Folder] = {}
        self.oid = oid  # None: changed since it was hashed
        self.body = body
        self.sorted = True
        at = 0
        while body and at < len(body):
            end = body.index(b"\0", at)
            self.rows[body[body.index(b" ", at) + 1 : end]] = body[at : end + 21]
            at = end + 21


def _entry(row: bytes) -> Entry:
    return Entry(int(row[: row.index(b" ")], 8), Oid(row[-20:].hex()))


def _row_order(item: tuple[bytes, bytes]) -> bytes:
    name, row = item
    return name + b"/" if row.startswith(b"40000 ") else name


class TreeEdit:
    """One tree, changed in place. ``fresh`` has the bodies of the new tree objects."""

    def __init__(self, root: Oid, read_tree: ReadTree) -> None:
        self._read = read_tree
        self._root = _Folder(read_tree(root), root)
        self.fresh: dict[Oid, bytes] = {}

    def get(self, path: bytes) -> Entry | None:
        """Return the entry (a folder's too) at ``path``, or None."""
        *parents, name = path.split(b"/")
        folder = self._root
        for parent in parents:
            below = self._child(folder, parent)
            if below is None:
                return None
            folder = below
        row = folder.rows.get(name)
        if row is None:
            return None
        if row.startswith(b"40000 ") and name in folder.folders:
            return Entry(MODE_TREE, self._hash(folder.folders[name]))
        return _entry(row)

    def blocking(self, path: bytes) -> bytes | None:
        """Return the parent of ``path`` that is a file, link or submodule, if any."""
        folder = self._root
        parts = path.split(b"/")
        for depth, parent in enumerate(parts[:-1]):
            below = self._child(folder, parent)
            if below is None:
                return b"/".join(parts[: depth + 1]) if parent in folder.rows else None
            folder = below
        return None

    def prefetch(
        self,
        paths: Iterable[bytes],
        read_many: Callable[[Iterable[Oid]], dict[Oid, bytes]],
        bodies: dict[Oid, bytes],
    ) -> list[Entry]:
        """Load the parent folders of ``paths``, one read per depth, into ``bodies``.

        Returns the entries that exist. ``read_tree`` must read from ``bodies``.
        """
        walks = [(self._root, path.split(b"/"), 0) for path in paths]
        found: list[Entry] = []
        while walks:
            missing = {
                Oid(row[-20:].hex())
                for folder, parts, depth in walks
                if depth < len(parts) - 1
                and parts[depth] not in folder.folders
                and (row := folder.rows.get(parts[depth], b"")).startswith(b"40000 ")
            }
            bodies.update(read_many(missing - bodies.keys()))
            deeper: list[tuple[_Folder, list[bytes], int]] = []
            for folder, parts, depth in walks:
                if depth < len(parts) - 1:
                    below = self._child(folder, parts[depth])
                    if below is not None:
                        deeper.append((below, parts, depth + 1))
                elif parts[depth] in folder.rows:
                    found.append(_entry(folder.rows[parts[depth]]))
            walks = deeper
        return found

    def change(self, changes: Iterable[tuple[bytes, Entry | None]]) -> None:
        """Remove every path whose entry is None, then set the others.

        Raises PathConflict, with the tree unchanged, when a file and a folder would share a path.
        """
        changes = list(changes)
        removed = {path for path, entry in changes if entry is None}
        added = [(path, entry) for path, entry in changes if entry is not None]
        self._check(removed, added)
        for path in removed:
            self._remove(self._root, path.split(b"/"))
        for path, entry in added:
            self._put(path.split(b"/"), entry)

    def write(self) -> Oid:
        """Hash what changed and return the tree's id."""
        return self._hash(self._root)

    # -- inside -----------------------------------------------------------------------------------

    def _child(self, folder: _Folder, name: bytes) -> _Folder | None:
        below = folder.folders.get(name)
        if below is None:
            row = folder.rows.get(name)
            if row is None or not row.startswith(b"40000 "):
                return None
            oid = Oid(row[-20:].hex())
            below = folder.folders[name] = _Folder(self._read(oid), oid)
        return below

    def _check(self, removed: set[bytes], added: list[tuple[bytes, Entry]]) -> None:
        names = {path for path, _ in added}
        for path, _ in added:
            there = self.get(path)
            if there is not None and not there.is_tree:
                continue  # a file stays a file: what is added below it is checked on its own
            parts = path.split(b"/")
            if any(b"/".join(parts[:depth]) in names for depth in range(1, len(parts))):
                raise PathConflict(path)
            block = self.blocking(path)
            if block is not None and block not in removed:
                raise PathConflict(block)
            if there is not None and not self._all_removed(path, removed):
                raise PathConflict(path)

    def _all_removed(self, path: bytes, removed: set[bytes]) -> bool:
        folder: _Folder | None = self._root
        for part in path.split(b"/"):
            folder = self._child(folder, part) if folder is not None else None
        return folder is not None and all(
            self._all_removed(path + b"/" + name, removed)
            if row.startswith(b"40000 ")
            else path + b"/" + name in removed
            for name, row in folder.rows.items()
        )

    def _remove(self, folder: _Folder, parts: list[bytes]) -> None:
        folder.oid = folder.body = None
        name = parts[0]
        if len(parts) == 1:
            folder.rows.pop(name, None)
            folder.folders.pop(name, None)
            return
        below = self._child(folder, name)
        if below is None:
            return
        self._remove(below, parts[1:])
        if not below.rows:  # git has no empty folders
            folder.rows.pop(name, None)
            folder.folders.pop(name, None)

    def _put(self, parts: list[bytes], entry: Entry) -> None:
        folder = self._root
        folder.oid = folder.body = None
        for name in parts[:-1]:
            below = self._child(folder, name)
            if below is None:
                below = folder.folders[name] = _Folder(None, None)
                folder.rows[name] = b"40000 " + name + b"\0" + bytes(20)
                folder.sorted = False
            folder = below
            folder.oid = folder.body = None
        name = parts[-1]
        old = folder.rows.get(name)
        if old is None or old.startswith(b"40000 "):
            folder.sorted = False
        folder.folders.pop(name, None)
        folder.rows[name] = b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.oid))

    def _hash(self, folder: _Folder) -> Oid:
        if folder.oid is not None:
            return folder.oid
        for name, below in folder.folders.items():
            if below.oid is None:
                folder.rows[name] = b"40000 " + name + b"\0" + bytes.fromhex(self._hash(below))
        if not folder.sorted:
            folder.rows = dict(sorted(folder.rows.items(), key=_row_order))
            folder.sorted = True
        body = b"".join(folder.rows.values())
        sha = hashlib.sha1(b"tree %d\0" % len(body), usedforsecurity=False)
        sha.update(body)
        folder.oid = Oid(sha.hexdigest())
        folder.body = body
        self.fresh[folder.oid] = body
        return folder.oid
