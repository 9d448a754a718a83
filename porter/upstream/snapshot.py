"""Write a level as plain files into a folder: no ``.git``, no filters, exact bytes.

A folder appears complete (written under another name, then renamed). It is keyed by the tree id and
the names of its files, so every run of that level shares it and it never changes.
:mod:`porter.upstream.needs` selects the files that a run gets.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from porter.errors import CorruptSource
from porter.git.objects import MODE_EXEC, MODE_LINK, Entry, Oid
from porter.places import cache_dir
from porter.upstream.needs import Needs
from porter.upstream.sources import check_names
from porter.upstream.store import FileCoverage, Upstream

Wants = Callable[[bytes], bool]


@dataclass(frozen=True)
class Gathered:
    """The files of a tree and its submodules that a run needs and that are in the store now.

    ``covered`` has the missing ones, by their paths in the tree.
    """

    tree: Oid
    parts: tuple[tuple[str, Upstream, dict[bytes, Entry]], ...]
    """The tree, then its submodules: path, upstream, the files' entries by path."""
    covered: FileCoverage


def gather_tree(
    upstream: Upstream,
    tree: Oid,
    needs: Needs,
    submodules: Mapping[str, Upstream] | None = None,
    touched: Collection[bytes] = (),
) -> Gathered:
    """Fetch the files of ``tree`` that ``needs`` selects, as far as sources serve them.

    ``touched`` are the paths that the series touches, which belong to the tree in any case.
    ``submodules`` maps paths to upstreams. Of a submodule that an entry names as a whole, or by a
    folder around it, the files that its pin wants are selected.
    """
    wants = upstream.pin.wants if not needs.named else None
    entries, covered = _bring(upstream, tree, needs, b"", wants, touched)
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
    identity: list[bytes] = []
    for where, upstream, entries in gathered.parts:
        if where:
            identity += [where.encode(), upstream.pin.tree.encode()]
        identity.append(b"\0".join(sorted(entries)))
    names = b"\0\0".join(identity)
    name = f"{gathered.tree}-{hashlib.sha256(names).hexdigest()[:16]}"
    folder = cache_dir() / "trees" / name
    if folder.is_dir():
        os.utime(folder)  # gc frees folders that were not used for long
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".new", dir=folder.parent))
    try:
        for where, upstream, entries in gathered.parts:
            _write_files(upstream, entries, fresh / where)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process made the same one
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _named_whole(needs: Needs, where: str) -> bool:
    folders = (entry.rstrip("/") + "/" for entry in needs.named)
    return not needs.named or any(f"{where}/".startswith(folder) for folder in folders)


def _bring(
    upstream: Upstream,
    tree: Oid,
    needs: Needs,
    before: bytes,
    wants: Wants | None,
    touched: Collection[bytes] = (),
) -> tuple[dict[bytes, Entry], FileCoverage]:
    """Fetch the needed files; ``before`` comes before the paths that ``needs`` names."""

    def is_needed(path: bytes) -> bool:
        wanted = wants is None or wants(path)
        return path in touched or (wanted and needs.takes(os.fsdecode(before + path)))

    flat = upstream.odb.flat(tree)
    files = {path: entry for path, entry in flat.items() if entry.is_blob and is_needed(path)}
    check_names(upstream.pin, files)
    covered = upstream.cover({path: entry.oid for path, entry in files.items()})
    for path in covered.missing:
        del files[path]
    return files, covered


def _write_files(upstream: Upstream, entries: Mapping[bytes, Entry], folder: Path) -> None:
    contents = upstream.odb.read_many(entry.oid for entry in entries.values())
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


def _expect_inside(path: bytes, content: bytes) -> None:
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), content))
    if content.startswith(b"/") or joined == b".." or joined.startswith(b"../"):
        raise CorruptSource(
            f"{path.decode(errors='replace')}: expected a link inside the tree, found one to "
            f"{content.decode(errors='replace')!r}"
        )
