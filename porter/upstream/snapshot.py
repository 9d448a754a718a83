"""Write a level as plain files into a folder: no ``.git``, no filters, exact bytes.

A folder appears complete (written under another name, then renamed). A cached folder is keyed by
the tree id and the names of its files, so every run of that level shares it and it never changes.
:mod:`porter.upstream.needs` selects the files that a run gets.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from porter.errors import BadInput, CorruptSource
from porter.git.objects import MODE_EXEC, MODE_LINK, Entry, Oid
from porter.places import cache_dir
from porter.upstream.needs import Needs
from porter.upstream.sources import check_names
from porter.upstream.store import Coverage, Upstream, coverage


def export_tree(upstream: Upstream, tree: Oid, paths: Iterable[str] | None, dest: Path) -> Coverage:
    """Write the files of ``tree`` under ``paths`` (None: the pin's wanted ones) into ``dest``.

    ``dest`` must be absent or an empty folder. Files that no source serves are omitted and named in
    the result. Submodules are omitted: export theirs into their folders. Raises BadInput for a
    ``dest`` in use, CorruptSource for a tree with links or names that lead out of it.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise BadInput(f"{dest}: expected no such folder or an empty one, found it in use")
    pin = upstream.pin if paths is None else replace(upstream.pin, wanted=tuple(paths))
    entries, covered = _bring(upstream, tree, pin.wants)
    dest.parent.mkdir(parents=True, exist_ok=True)
    _publish(upstream, entries, dest)
    return covered


@dataclass(frozen=True)
class Gathered:
    """The files of a tree and its submodules that a run needs and that are in the store now.

    ``covered`` has the missing ones, by their paths in the tree.
    """

    tree: Oid
    upstream: Upstream
    entries: dict[bytes, Entry]
    submodules: tuple[tuple[str, Upstream, dict[bytes, Entry]], ...]
    covered: Coverage


def gather_tree(
    upstream: Upstream, tree: Oid, needs: Needs, submodules: Mapping[str, Upstream] | None = None
) -> Gathered:
    """Fetch the files of ``tree`` that ``needs`` selects, as far as sources serve them.

    ``submodules`` maps paths to upstreams. Of a submodule that an entry names as a whole, or by a
    folder around it, the files that its pin wants are selected.
    """
    wants = upstream.pin.wants if not needs.named else None
    entries, covered = _bring(upstream, tree, lambda path: _taken(needs, path, path, wants))
    parts: list[tuple[str, Upstream, dict[bytes, Entry]]] = []
    for where, inner in sorted((submodules or {}).items()):
        before = where.encode() + b"/"
        wants = inner.pin.wants if _named_whole(needs, where) else None
        own, inner_covered = _bring(
            inner,
            inner.pin.tree,
            lambda path, b=before, w=wants: _taken(needs, b + path, path, w),  # type: ignore[misc]
        )
        parts.append((where, inner, own))
        covered = _together(covered, where, inner_covered)
    return Gathered(tree, upstream, entries, tuple(parts), covered)


def cached_tree(gathered: Gathered) -> Path:
    """Return a read-only folder with exactly the gathered files, made once.

    The folder is shared: do not write into it (its files are read-only; for byte code see
    PYTHONPYCACHEPREFIX).
    """
    identity = [b"\0".join(sorted(gathered.entries))]
    for where, inner, own in gathered.submodules:
        identity += [where.encode(), inner.pin.tree.encode(), b"\0".join(sorted(own))]
    names = b"\0\0".join(identity)
    name = f"{gathered.tree}-{hashlib.sha256(names).hexdigest()[:16]}"
    folder = cache_dir() / "trees" / name
    if folder.is_dir():
        os.utime(folder)  # gc frees folders that were not used for long
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _publish(gathered.upstream, gathered.entries, folder, gathered.submodules, read_only=True)
    return folder


def _taken(needs: Needs, path: bytes, inner: bytes, wants: Callable[[bytes], bool] | None) -> bool:
    if wants is not None and not wants(inner):
        return False
    return needs.takes(os.fsdecode(path))


def _named_whole(needs: Needs, where: str) -> bool:
    folders = (entry.rstrip("/") + "/" for entry in needs.named)
    return not needs.named or any(f"{where}/".startswith(folder) for folder in folders)


def _together(covered: Coverage, where: str, inner: Coverage) -> Coverage:
    return replace(
        covered,
        wanted=covered.wanted + inner.wanted,
        covered=covered.covered + inner.covered,
        missing=covered.missing + tuple(where.encode() + b"/" + path for path in inner.missing),
        bytes_received=covered.bytes_received + inner.bytes_received,
        reasons=covered.reasons + inner.reasons,
    )


def _bring(
    upstream: Upstream, tree: Oid, wanted: Callable[[bytes], bool]
) -> tuple[dict[bytes, Entry], Coverage]:
    files = {
        path: entry
        for path, entry in upstream.odb.flat(tree).items()
        if entry.is_blob and wanted(path)
    }
    check_names(upstream.pin, files)
    blobs = {path: entry.oid for path, entry in files.items()}
    reasons = upstream.bring(blobs.values())
    covered = coverage(upstream, blobs, reasons)
    for path in covered.missing:
        del files[path]
    return files, covered


def _publish(
    upstream: Upstream,
    entries: Mapping[bytes, Entry],
    dest: Path,
    submodules: Iterable[tuple[str, Upstream, Mapping[bytes, Entry]]] = (),
    *,
    read_only: bool = False,
) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", suffix=".new", dir=dest.parent))
    try:
        _write_files(upstream, entries, fresh, read_only)
        for where, inner, own in submodules:
            _write_files(inner, own, fresh / where, read_only)
        fresh.chmod(0o755)
        try:
            fresh.rename(dest)  # replaces an empty folder
        except OSError:
            if not (read_only and dest.is_dir()):  # another process made the same one
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_files(
    upstream: Upstream, entries: Mapping[bytes, Entry], folder: Path, read_only: bool
) -> None:
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
        mode = 0o755 if entry.mode == MODE_EXEC else 0o644
        target.chmod(mode & 0o555 if read_only else mode)


def _expect_inside(path: bytes, content: bytes) -> None:
    joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), content))
    if content.startswith(b"/") or joined == b".." or joined.startswith(b"../"):
        raise CorruptSource(
            f"{path.decode(errors='replace')}: expected a link inside the tree, found one to "
            f"{content.decode(errors='replace')!r}"
        )
