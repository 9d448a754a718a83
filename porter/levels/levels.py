"""Levels: the pinned tree after each patch, built as git objects without a work tree.

:mod:`porter.levels.build` computes the trees in process. With ``write`` the new objects go into the
store in one pack; otherwise only a memo is written. A level is what ``git apply --index`` makes of
the patches, byte for byte.

A memo caches the result of applying a patch to a tree, so that an unchanged series costs a few
small reads. Its key covers all that the result depends on. One that cannot be read, or whose
checksum is wrong, counts as missing. Memos are never trusted for writing: a level that goes into
the store is built again.

A level's commit uses the patch's author and date for both author and committer, so its id is the
same on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from porter.atomic import parse_json, write_atomic
from porter.errors import CheckFailed
from porter.git.objects import Oid, encode_commit, hash_object, oid
from porter.git.quoting import read_path, show_path
from porter.levels.level_name import Broken
from porter.levels.level_name import find_level as find_level
from porter.places import cache_dir
from porter.series.series import Patch, Series

if TYPE_CHECKING:
    from porter.git.treeedit import TreeEdit
    from porter.levels.applier import FileChange
    from porter.levels.build import Builder, Stating, Step, UpstreamObjects
    from porter.levels.diagnose import PatchFailure

UPSTREAM = "upstream"
"""The name of level 0."""
APPLIER_VERSION = 2
"""Part of a memo's key. Bump it when the result of applying any patch could change."""


@dataclass(frozen=True, slots=True)
class Level:
    """The state after ``number`` patches. ``files``: touched path -> blob id, None if deleted.

    ``claimed`` are the touched files that no source covers; their ids are as the patch states.
    """

    number: int
    name: str
    tree: Oid
    commit: Oid
    patch: Patch | None
    files: dict[bytes, Oid | None]
    claimed: frozenset[bytes] = frozenset()

    @property
    def off(self) -> bool:
        """Whether the series switches the level off by default."""
        return self.patch is not None and self.patch.off


class ApplyFailed(CheckFailed):
    """Patches do not apply; ``failures`` has every failing hunk of every patch.

    The text has porter's reading of the first failure and git's words about that patch.
    """

    def __init__(self, port: str, failures: Sequence[PatchFailure]) -> None:
        self.failures = tuple(failures)
        patch = failures[0].patch
        read = [failure for failure in failures if not failure.by_git]
        shown = [str(failure) for failure in read[:1] if failure.patch == patch]
        more = f" (and {len(read) - len(shown)} more)" if len(read) > len(shown) else ""
        said = [str(failure) for failure in failures if failure.by_git and failure.patch == patch]
        text = "; ".join([f"{text}{more}" for text in shown] + said)
        more = "" if shown else more
        super().__init__(
            f"{patch} does not apply: {text}{more}; `porter check {port}` shows every failing hunk"
        )


@dataclass(frozen=True, slots=True)
class BuiltSeries:
    """The levels below the first patch that fails, and how every patch applied.

    ``steps`` is empty when the levels were recalled from memos. ``top`` is the tree after the last
    patch that applied at all, None when recalled.
    """

    levels: tuple[Level, ...]
    steps: tuple[Step, ...] = ()
    top: TreeEdit | None = None

    @property
    def failures(self) -> list[PatchFailure]:
        """Every failing hunk of every patch."""
        return [failure for step in self.steps for failure in step.failures]

    def broken(self, port: str) -> Broken | None:
        """Return the levels that do not exist because a patch fails, if any."""
        if not self.failures:
            return None
        off = {step.patch.level: step.patch.off for step in self.steps if not step.sound}
        return Broken(off, str(ApplyFailed(port, self.failures)))


def build_series(
    upstream: UpstreamObjects,
    series: Series,
    *,
    stating: Stating = "never",
    write: bool = False,
    recall: bool = True,
    remember: bool = True,
) -> BuiltSeries:
    """Recall the levels of ``series``, or build and remember them.

    With ``write`` the store holds these levels on return. For ``stating`` see
    :class:`porter.levels.build.Builder`. Raises SourceUnavailable when a patch needs a file that no
    source covers.
    """
    from porter.levels.build import Builder

    known = recall_levels(upstream.pin.tree, upstream.commit, series) if recall else None
    if known is not None and not (write and _absent(upstream, known)):
        return BuiltSeries(known)
    with Builder(upstream, stating) as builder:
        steps = builder.run(series.patches)
    levels = levels_of(upstream.pin.tree, upstream.commit, steps)
    if remember:
        remember_levels(steps)
    built = BuiltSeries(levels, tuple(steps), builder.tree)
    if write and built.failures:  # again without the patches whose levels do not exist
        sound = replace(series, patches=series.patches[: len(levels) - 1])
        build_series(upstream, sound, stating=stating, write=True, recall=recall)
    elif write:
        _write_levels(upstream, builder, levels)
    return built


def build_levels(
    upstream: UpstreamObjects, series: Series, *, write: bool = False, memo: bool = True
) -> tuple[Level, ...]:
    """Return every level of ``series``, level 0 first, as :func:`build_series` does.

    Raises ApplyFailed with every failing hunk of every patch. Without ``memo`` nothing is recalled
    or remembered.
    """
    built = build_series(upstream, series, write=write, recall=memo, remember=memo)
    if built.failures:
        raise ApplyFailed(series.port, built.failures)
    return built.levels


def _absent(upstream: UpstreamObjects, levels: Sequence[Level]) -> bool:
    """Return whether the store lacks an object of the levels."""
    objects = {blob for level in levels for blob in level.files.values() if blob}
    objects |= {oid for level in levels for oid in (level.commit, level.tree)}
    return not upstream.present(objects) >= objects


def levels_of(tree: Oid, commit: Oid, steps: Sequence[Step]) -> tuple[Level, ...]:
    """Return the levels of a build on ``tree``, up to its first failure."""
    levels = [Level(0, UPSTREAM, tree, commit, None, {})]
    for step in steps:
        if not step.sound:
            break
        claimed = frozenset(c.path for c in step.changes if c.claimed)
        levels.append(_next(levels[-1], step.patch, step.tree, _files(step.changes), claimed))
    return tuple(levels)


def recall_levels(tree: Oid, commit: Oid, series: Series) -> tuple[Level, ...] | None:
    """Return every level from memos alone, or None when a memo is missing."""
    levels = [Level(0, UPSTREAM, tree, commit, None, {})]
    for patch in series.patches:
        if (known := _recall(_memo_key(levels[-1].tree, patch))) is None:
            return None
        levels.append(_next(levels[-1], patch, *known, frozenset()))
    return tuple(levels)


def remember_levels(steps: Sequence[Step]) -> None:
    """Write a memo for every patch, up to the first failure, whose contents were all read.

    A cache that cannot be written is no error.
    """
    for step in steps:
        if step.failures:
            return
        if any(change.claimed for change in step.changes):
            continue
        key = _memo_key(step.parent, step.patch)
        files = {show_path(path): blob for path, blob in _files(step.changes).items()}
        body = json.dumps({"tree": step.tree, "files": files}).encode()
        with suppress(OSError):
            write_atomic(_memo_path(key), _checksum(key, body) + b"\n" + body, tidy=False)


def _recall(key: str) -> tuple[Oid, dict[bytes, Oid | None]] | None:
    """Return the tree after a patch, and path -> blob id (None: deleted) of its files."""
    try:
        checksum, _, body = _memo_path(key).read_bytes().partition(b"\n")
        if _checksum(key, body) != checksum:
            return None
        data = parse_json(body)
        files = {
            read_path(path.encode()): oid(blob) if blob is not None else None
            for path, blob in data["files"].items()
        }
        return oid(data["tree"]), files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def damaged_memos() -> tuple[int, list[Path]]:
    """Return the number of memos, and those that are not as they were written."""
    paths = [path for path in sorted(memo_dir().glob("??/*")) if not path.name.startswith(".")]
    return len(paths), [path for path in paths if _recall(path.parent.name + path.name) is None]


def memo_dir() -> Path:
    """Return the folder of memos, which may be deleted at any time."""
    return cache_dir() / "levels"


def _memo_key(parent: Oid, patch: Patch) -> str:
    text = f"levels {APPLIER_VERSION} {parent} {patch.sha256}"
    return hashlib.sha256(text.encode()).hexdigest()


def _memo_path(key: str) -> Path:
    return memo_dir() / key[:2] / key[2:]


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + body).hexdigest().encode()


def _write_levels(upstream: UpstreamObjects, builder: Builder, levels: Sequence[Level]) -> None:
    """Write every object of the levels into the store in one pack."""
    objects = [("blob", body) for body in builder.blobs.made.values()]
    objects += [("tree", body) for body in builder.tree.fresh.values()]
    for below, level in pairwise(levels):
        assert level.patch is not None
        objects.append(("commit", _commit_body(below.commit, level.patch, level.tree)))
    upstream.odb.write(objects)


def _files(changes: Iterable[FileChange]) -> dict[bytes, Oid | None]:
    return {change.path: change.entry.oid if change.entry else None for change in changes}


def _next(
    below: Level,
    patch: Patch,
    tree: Oid,
    files: Mapping[bytes, Oid | None],
    claimed: frozenset[bytes],
) -> Level:
    commit = hash_object("commit", _commit_body(below.commit, patch, tree))
    ordered = {path: files[path] for path in sorted(files)}
    return Level(below.number + 1, patch.level, tree, commit, patch, ordered, claimed)


def _commit_body(parent: Oid, patch: Patch, tree: Oid) -> bytes:
    who = patch.header.author
    return encode_commit(tree, [parent], who, who, patch.header.message)
