"""A level as plain files in a folder, for running it: no ``.git``, no filters, exact bytes.

A folder appears whole (written beside, then renamed). The cached form is keyed by the tree id and
by which files it holds, so it is shared by every run of that level, never changed once made, and an
export that a partial source left incomplete is not taken for a complete one later.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from porter.errors import BadInput, CorruptSource
from porter.git.objects import MODE_EXEC, MODE_LINK, Entry, Oid
from porter.places import cache_dir
from porter.upstream.sources import check_names

if TYPE_CHECKING:
    from porter.upstream.store import Coverage, Upstream


def export_tree(upstream: Upstream, tree: Oid, paths: Iterable[str] | None, dest: Path) -> Coverage:
    """Write the files of ``tree`` under ``paths`` (None: the pin's wanted ones) into ``dest``.

    ``dest`` must not exist or be an empty folder. Files that no source serves are left out and
    named in the result. Submodules are left out: export theirs into their folder. Raises BadInput
    for a ``dest`` in use, CorruptSource for a tree with links or names that lead out of it.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise BadInput(f"{dest}: expected no such folder or an empty one, found it in use")
    entries, covered = _gather(upstream, tree, paths)
    dest.parent.mkdir(parents=True, exist_ok=True)
    _write_beside(upstream, entries, dest)
    return covered


def cached_tree(
    upstream: Upstream,
    tree: Oid,
    paths: Iterable[str] | None,
    submodules: Mapping[str, Upstream] | None = None,
) -> tuple[Path, Coverage]:
    """Return a read-only folder with the files of ``tree`` under ``paths``, made once.

    ``submodules`` (path -> upstream) are written at their paths, as far as ``paths`` wants them
    (all that their pins want where it names them whole). What of them no source serves is among the
    missing, by its path in the tree. The folder is shared: write nothing into it (its files are
    read-only; byte code belongs elsewhere, see PYTHONPYCACHEPREFIX).
    """
    entries, covered = _gather(upstream, tree, paths)
    identity = [b"\0".join(sorted(entries))]
    parts: list[tuple[str, Upstream, dict[bytes, Entry]]] = []
    for where, inner in sorted((submodules or {}).items()):
        own, inner_covered = _gather(inner, inner.pin.tree, wanted_inside(where, paths))
        parts.append((where, inner, own))
        identity += [where.encode(), inner.pin.tree.encode(), b"\0".join(sorted(own))]
        covered = _together(covered, where, inner_covered)
    names = b"\0\0".join(identity)
    folder = cache_dir() / "trees" / f"{tree}-{hashlib.sha256(names).hexdigest()[:16]}"
    if folder.is_dir():
        os.utime(folder)  # gc frees those that nobody used for long
        return folder, covered
    folder.parent.mkdir(parents=True, exist_ok=True)
    _write_beside(upstream, entries, folder, parts, read_only=True)
    return folder, covered


def wanted_inside(where: str, paths: Iterable[str] | None) -> list[str] | None:
    """Return what ``paths`` want of the submodule at ``where``: None for all, [] for nothing."""
    if paths is None:
        return None
    inside = []
    for path in paths:
        if f"{where}/".startswith(f"{path.rstrip('/')}/"):
            return None
        if path.startswith(f"{where}/"):
            inside.append(path.removeprefix(f"{where}/"))
    return inside


def _together(covered: Coverage, where: str, inner: Coverage) -> Coverage:
    import dataclasses

    return dataclasses.replace(
        covered,
        wanted=covered.wanted + inner.wanted,
        covered=covered.covered + inner.covered,
        missing=covered.missing + tuple(where.encode() + b"/" + path for path in inner.missing),
        bytes_received=covered.bytes_received + inner.bytes_received,
        reasons=covered.reasons + inner.reasons,
    )


def _gather(
    upstream: Upstream, tree: Oid, paths: Iterable[str] | None
) -> tuple[dict[bytes, Entry], Coverage]:
    import dataclasses

    from porter.upstream.store import coverage

    pin = upstream.pin
    chosen = pin if paths is None else dataclasses.replace(pin, wanted=tuple(paths))
    files = {
        path: entry
        for path, entry in upstream.odb.flat(tree).items()
        if entry.is_blob and chosen.wants(path)
    }
    check_names(pin, files)
    blobs = {path: entry.oid for path, entry in files.items()}
    reasons = upstream.bring(blobs.values())
    covered = coverage(upstream, blobs, reasons)
    for path in covered.missing:
        del files[path]
    return files, covered


def _write_beside(
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
