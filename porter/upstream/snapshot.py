"""Write a level as plain files into a folder: no ``.git``, no filters, exact bytes.

A folder appears complete (written under another name, then renamed). It is keyed by the tree id and
the names of its files, so every run of that level shares it and it never changes. Nothing relies on
that: before a probe runs on a folder, :meth:`Snapshots.mend` hashes every file of it.
:mod:`porter.upstream.needs` selects the files that a run gets.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from porter.errors import CorruptSource
from porter.git.objects import MODE_EXEC, MODE_LINK, Entry, Oid, blob_id
from porter.git.odb import Odb
from porter.places import cache_dir
from porter.upstream.needs import Needs
from porter.upstream.sources import check_names
from porter.upstream.store import FileCoverage, Upstream

Wants = Callable[[bytes], bool]
Part = tuple[str, Odb, Mapping[bytes, Entry]]
"""A folder of a snapshot, where its files' contents are, and their entries by path."""


@dataclass(frozen=True)
class Gathered:
    """The files of a tree and its submodules that a run needs and that are in the store now.

    ``covered`` has the missing ones, by their paths in the tree.
    """

    tree: Oid
    parts: tuple[tuple[str, Upstream, dict[bytes, Entry]], ...]
    """The tree, then its submodules: path, upstream, the files' entries by path."""
    covered: FileCoverage

    @property
    def files(self) -> tuple[Part, ...]:
        """The files of every part, and the object database that holds their contents."""
        return tuple((where, upstream.odb, entries) for where, upstream, entries in self.parts)


def gather_tree(
    upstream: Upstream,
    tree: Oid,
    needs: Needs,
    submodules: Mapping[str, Upstream] | None = None,
    also: Collection[bytes] = (),
) -> Gathered:
    """Fetch the files of ``tree`` that ``needs`` selects, as far as sources serve them.

    ``touched`` are the paths that the series touches, which belong to the tree in any case.
    ``submodules`` maps paths to upstreams. Of a submodule that an entry names as a whole, or by a
    folder around it, the files that its pin wants are selected. The files of the tree that ``also``
    names are selected where a source serves them.
    """
    wants = upstream.pin.wants if not needs.named else None
    entries, covered = _bring(upstream, tree, needs, b"", wants, also)
    parts = [("", upstream, entries)]
    for where, inner in sorted((submodules or {}).items()):
        before = where.encode() + b"/"
        wants = inner.pin.wants if _named_whole(needs, where) else None
        entries, own = _bring(inner, inner.pin.tree, needs, before, wants)
        parts.append((where, inner, entries))
        covered = replace(
            covered,
            wanted=covered.wanted + own.wanted,
            covered=covered.covered + own.covered,
            missing=covered.missing + tuple(before + path for path in own.missing),
            bytes_received=covered.bytes_received + own.bytes_received,
            reasons=covered.reasons + own.reasons,
        )
    return Gathered(tree, tuple(parts), covered)


def cached_tree(gathered: Gathered) -> Path:
    """Return a read-only folder with exactly the gathered files, made once.

    The folder is shared: do not write into it (its files are read-only; for byte code see
    PYTHONPYCACHEPREFIX).
    """
    parts = [(where, upstream.pin.tree, entries) for where, upstream, entries in gathered.parts]
    return _made_once(folder_name(gathered.tree, parts), gathered.files)


def _made_once(name: str, parts: Iterable[Part]) -> Path:
    folder = cache_dir() / "trees" / name
    if folder.is_dir():
        with suppress(OSError):  # a cache that one may only read
            os.utime(folder)  # gc frees folders that were not used for long
        return folder
    _write_tree(parts, folder)
    return folder


def folder_name(tree: str, parts: Iterable[tuple[str, str, Iterable[bytes]]]) -> str:
    """Return the name of a snapshot; ``parts`` are path, tree id and file names of the tree and of
    its submodules."""
    identity: list[bytes] = []
    for where, inner, names in parts:
        if where:
            identity += [where.encode(), inner.encode()]
        identity.append(b"\0".join(sorted(names)))
    digest = hashlib.sha256(b"\0\0".join(identity)).hexdigest()
    return f"{tree}-{digest[:16]}"


def _write_tree(parts: Iterable[Part], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        for where, odb, entries in parts:
            _write_files(odb, entries, fresh / where)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process made the same one
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@dataclass
class Snapshots:
    """The snapshots of one verification, each hashed before the first probe runs on it.

    Before later runs only the files' states are compared: a change sets a file's ctime, which no
    program can set back.
    """

    _parts: dict[Path, tuple[Part, ...]] = field(default_factory=dict)
    _states: dict[Path, frozenset[tuple[object, ...]]] = field(default_factory=dict)

    def folder(self, gathered: Gathered) -> Path:
        """Return the folder of the gathered files, made if there is none; it is not compared."""
        folder = cached_tree(gathered)
        self._parts[folder] = gathered.files
        return folder

    def whole(self, odb: Odb, tree: Oid) -> Path:
        """Return the folder of all files of a tree in an object database, likewise.

        Raises MissingObject.
        """
        entries = odb.flat(tree)
        parts = (("", odb, entries),)
        folder = _made_once(folder_name(tree, [("", "", entries)]), parts)
        self._parts[folder] = parts
        return folder

    def mend(self, folder: Path) -> str:
        """Write a folder again if it differs from its tree; return one line about that, else ""."""
        parts = self._parts.get(folder)
        if parts is None:
            return ""
        state = folder_state(folder)
        if state == self._states.get(folder):
            return ""
        problem = tree_problem(folder, _expected(parts))
        if problem:
            drop_tree(folder)
            _write_tree(parts, folder)
            state = folder_state(folder)
        self._states[folder] = state
        return f"{folder}: {problem}; written again" if problem else ""


def tree_problem(folder: Path, expected: Mapping[bytes, Entry]) -> str:
    """Return how a folder differs from the files it should hold, "" if it does not."""
    found = dict(files_below(os.fsencode(folder)))
    for path in sorted(found.keys() ^ expected.keys()):
        return f"{os.fsdecode(path)} is {'not part of it' if path in found else 'gone'}"
    for path, entry in sorted(expected.items()):
        file = found[path]
        is_link = file.is_symlink()
        target = Path(os.fsdecode(file.path))
        content = os.fsencode(target.readlink()) if is_link else target.read_bytes()
        executable = not is_link and bool(file.stat().st_mode & 0o111)
        same_kind = (is_link, executable) == (entry.mode == MODE_LINK, entry.mode == MODE_EXEC)
        if not same_kind or blob_id(content) != entry.oid:
            return f"{os.fsdecode(path)} was changed"
    return ""


def present_files(folder: Path) -> set[bytes]:
    """Return the paths of all files in a snapshot."""
    return {path for path, _ in files_below(os.fsencode(folder))}


def drop_tree(folder: Path) -> None:
    """Delete a snapshot; renamed first, so that nobody takes half of it for the whole."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.gone")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _expected(parts: Iterable[Part]) -> dict[bytes, Entry]:
    return {
        (where.encode() + b"/" if where else b"") + path: entry
        for where, _, entries in parts
        for path, entry in entries.items()
    }


def files_below(folder: bytes, before: bytes = b"") -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yield everything in a folder but folders that hold something, by path."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = before + entry.name
            if entry.is_dir(follow_symlinks=False):
                inner = list(files_below(entry.path, path + b"/"))
                yield from inner or [(path, entry)]
            else:
                yield path, entry


def folder_state(folder: Path) -> frozenset[tuple[object, ...]]:
    """Return what changes when a file of the folder does: names, sizes, inodes, times, modes."""
    rows: list[tuple[object, ...]] = []
    for path, entry in files_below(os.fsencode(folder)):
        stat = entry.stat(follow_symlinks=False)
        times = stat.st_mtime_ns, stat.st_ctime_ns
        rows.append((path, stat.st_ino, stat.st_size, stat.st_mode, *times))
    return frozenset(rows)


def _named_whole(needs: Needs, where: str) -> bool:
    folders = (entry.rstrip("/") + "/" for entry in needs.named)
    return not needs.named or any(f"{where}/".startswith(folder) for folder in folders)


def _bring(
    upstream: Upstream,
    tree: Oid,
    needs: Needs,
    before: bytes,
    wants: Wants | None,
    also: Collection[bytes] = (),
) -> tuple[dict[bytes, Entry], FileCoverage]:
    """Fetch the needed files; ``before`` comes before the paths that ``needs`` names.

    Those that only ``also`` names are left out where no source serves them.
    """

    def is_needed(path: bytes) -> bool:
        wanted = wants is None or wants(path)
        return wanted and needs.takes(os.fsdecode(before + path))

    flat = {path: entry for path, entry in upstream.odb.flat(tree).items() if entry.is_blob}
    files = {path: entry for path, entry in flat.items() if path in also or is_needed(path)}
    check_names(upstream.pin, files)
    covered = upstream.cover({path: entry.oid for path, entry in files.items()})
    for path in covered.missing:
        del files[path]
    lacking = tuple(path for path in covered.missing if is_needed(path))
    wanted = covered.wanted - len(covered.missing) + len(lacking)
    return files, replace(covered, wanted=wanted, missing=lacking)


def _write_files(odb: Odb, entries: Mapping[bytes, Entry], folder: Path) -> None:
    contents = odb.read_many(entry.oid for entry in entries.values())
    for path, entry in entries.items():
        target = folder / os.fsdecode(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = contents[entry.oid]
        if entry.mode == MODE_LINK:
            _expect_inside(path, content)
            target.symlink_to(os.fsdecode(content))
            continue
        target.write_bytes(content)
        target.chmod(0o555 if entry.mode == MODE_EXEC else 0o444)


def leads_out(path: bytes, content: bytes) -> bool:
    """Whether a link at ``path`` of a tree, to ``content``, leads out of the tree."""
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), content))
    return content.startswith(b"/") or joined == b".." or joined.startswith(b"../")


def _expect_inside(path: bytes, content: bytes) -> None:
    if leads_out(path, content):
        raise CorruptSource(
            f"{path.decode(errors='replace')}: expected a link inside the tree, found one to "
            f"{content.decode(errors='replace')!r}"
        )
