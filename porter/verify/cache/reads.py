"""Which files of its trees a run read: a run on trees with the same ones has the same trace.

``reads.json`` of a trace holds them with their hashes. The names of all files of the trees count
too, with their kinds: a program may list a folder, or look for a file that is not there. So may it
ask for a file's size or time without reading it; that is not seen.

A run that differs from an earlier one only in trees, and finds there all that the earlier one read,
as it was, takes that one's trace (:class:`KnownReads`). Free of torch.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from porter.upstream.snapshot import files_below
from porter.verify.harness.sums import sum_of

READS = "reads.json"
READS_FORMAT = 1
Roots = Mapping[str, Path]
"""A run's trees: "" for its own, and its companions by name."""


class Reads(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a run read of its trees.

    ``base`` is the key of everything else that it depends on (:func:`porter.verify.cache.keys
    .known_runs`). By tree: ``names`` is the hash of its files' names, ``files`` maps the paths of
    those read to their hashes.
    """

    format: int
    base: str
    names: dict[str, str]
    files: dict[str, dict[str, str]]


@dataclass
class TreeHashes:
    """Hashes of the files in some trees, taken once. Thread-safe: taken twice at worst.

    A folder or file that was written anew in the same place is hashed anew.
    """

    _names: dict[tuple[Path, int, int], str] = field(default_factory=dict)
    _files: dict[tuple[Path, int, int, int], str] = field(default_factory=dict)

    def names(self, root: Path) -> str:
        """Return the hash of the names of all files below a folder: paths, kinds, links' targets.

        Raises OSError.
        """
        state = root.stat()
        key = root, state.st_ino, state.st_ctime_ns
        if key not in self._names:
            rows = b"\0".join(sorted(_rows(root)))
            self._names[key] = hashlib.sha256(rows).hexdigest()
        return self._names[key]

    def file(self, path: Path) -> str:
        """Return the hash of a file's content, "" for none."""
        try:
            state = path.stat()
            key = path, state.st_ino, state.st_ctime_ns, state.st_size
            if key not in self._files:
                self._files[key] = sum_of(path.read_bytes())
            return self._files[key]
        except OSError:
            return ""


def _rows(root: Path) -> Iterator[bytes]:
    for path, entry in files_below(os.fsencode(root)):
        if entry.is_symlink():
            yield path + b" -> " + os.readlink(entry.path)
        elif entry.is_dir():
            yield path + b"/"
        else:
            yield path + (b" x" if entry.stat().st_mode & 0o111 else b" ")


def reads_of(base: str, roots: Roots, opened: Collection[str], hashes: TreeHashes) -> Reads:
    """Return what a run read, from the paths that it opened. Raises OSError."""
    real = {name: os.path.realpath(root) + os.sep for name, root in roots.items()}
    files: dict[str, dict[str, str]] = {name: {} for name in roots}
    for path in sorted(opened):
        for name, root in real.items():
            if path.startswith(root) and (content := hashes.file(Path(path))):
                files[name][path[len(root) :]] = content
    return Reads(READS_FORMAT, base, {name: hashes.names(at) for name, at in roots.items()}, files)


def write_reads(folder: Path, reads: Reads) -> None:
    """Write the file beside a trace."""
    (folder / READS).write_bytes(msgspec.json.encode(reads))


def parse_reads(data: bytes) -> Reads:
    """Return what a file holds. Raises ValueError for another format."""
    reads = msgspec.json.decode(data, type=Reads)
    if reads.format != READS_FORMAT:
        raise ValueError(f"format {reads.format}, expected {READS_FORMAT}")
    return reads


@dataclass
class KnownReads:
    """The reads of the traces in some folders, to find one that serves a run. Thread-safe."""

    hashes: TreeHashes = field(default_factory=TreeHashes)
    _known: dict[str, list[tuple[Reads, Path]]] = field(default_factory=dict)
    _looked_at: set[Path] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, base: str, roots: Roots, among: Path) -> Iterator[Path]:
        """Yield the traces that a run on these trees would have, the newest first.

        ``among`` is a folder of traces; those added (:meth:`add`) count too. Whether they are whole
        is not checked.
        """
        self._look_at(among)
        with self._lock:
            candidates = [*self._known.get(base, ())]
        for reads, folder in reversed(candidates):
            if self._is_same(reads, roots):
                yield folder

    def add(self, folder: Path) -> None:
        """Add a trace; one without its reads counts for nothing."""
        try:
            reads = parse_reads((folder / READS).read_bytes())
        except (OSError, ValueError):
            return
        with self._lock:
            self._known.setdefault(reads.base, []).append((reads, folder))

    def _look_at(self, among: Path) -> None:
        with self._lock:
            if among in self._looked_at:
                return
            self._looked_at.add(among)
        found = []
        for path in among.glob(f"*/{READS}"):
            try:
                found.append((path.stat().st_mtime, path.parent))
            except OSError:
                continue
        for _, folder in sorted(found):
            self.add(folder)

    def _is_same(self, reads: Reads, roots: Roots) -> bool:
        if reads.files.keys() != roots.keys():
            return False
        try:
            if any(self.hashes.names(root) != reads.names.get(n) for n, root in roots.items()):
                return False
        except OSError:
            return False
        return all(
            self.hashes.file(roots[name] / path) == content
            for name, files in reads.files.items()
            for path, content in files.items()
        )
