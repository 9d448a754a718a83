"""Levels: what each patch makes of the pinned tree, as git objects and without a work tree.

All trees of a series are computed in process: one read of the touched folders and files, one SHA-1
per changed object. ``build_levels(write=True)`` then puts the new objects into the store in one
pack; otherwise nothing is written but a memo. What the strict applier does not take goes to ``git
apply``, so a level is what ``git apply --index`` makes of the patches, byte for byte.

A level's commit has the patch's author and date for author and committer alike, so its id is the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from porter import memo as memos
from porter.applier import Change, NotStrict, apply_strictly
from porter.errors import BadInput, CheckFailed, CorruptSource, SourceUnavailable
from porter.gitapply import GitRefused, Scratch, apply_with_git
from porter.objects import Oid, blob_id, encode_commit, hash_object
from porter.quoting import show_path
from porter.series import Patch, Series
from porter.treeedit import PathConflict, TreeEdit

UPSTREAM = "upstream"
"""The name of level 0."""


class Objects(Protocol):
    """What is needed of an object database (:class:`porter.odb.Odb`)."""

    def read(self, oid: Oid) -> bytes: ...
    def read_many(self, oids: Iterable[Oid]) -> dict[Oid, bytes]: ...
    def has(self, oids: Iterable[Oid]) -> set[Oid]: ...
    def write(self, objects: Iterable[tuple[str, bytes]]) -> None: ...


class Pinned(Protocol):
    """What is needed of a pin."""

    @property
    def tree(self) -> Oid: ...


class Upstream(Protocol):
    """What is needed of an opened upstream (:class:`porter.store.Upstream`)."""

    @property
    def pin(self) -> Pinned: ...
    @property
    def git_dir(self) -> Path: ...
    @property
    def odb(self) -> Objects: ...
    @property
    def commit(self) -> Oid: ...
    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]: ...


@dataclass(frozen=True, slots=True)
class Level:
    """The state after ``number`` patches. ``files``: touched path -> blob id, None if deleted.

    ``claimed`` are the touched files no source covers: their ids are those the patch states.
    """

    number: int
    name: str
    tree: Oid
    commit: Oid
    patch: Patch | None
    files: dict[bytes, Oid | None]
    claimed: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a patch does not apply: one hunk (``hunk`` is its ``@@`` header), or a whole file (None).

    ``line`` is the line in the patch file; ``at`` the line of the upstream file where the hunk
    belongs, ``found`` what stands there; ``moved`` the line where the expected lines are now.
    """

    patch: str
    path: str
    reason: str
    line: int = 0
    hunk: str | None = None
    at: int = 0
    expected: tuple[bytes, ...] = ()
    found: tuple[bytes, ...] = ()
    moved: int | None = None
    moved_to: str | None = None


class ApplyFailed(CheckFailed):
    """Patches that do not apply; ``failures`` has every failing hunk of every patch."""

    def __init__(self, port: str, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        first = failures[0]
        where = f" at {first.hunk}" if first.hunk else ""
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(
            f"{first.patch}: {first.path}{where}: {first.reason}{more}; "
            f"`porter check {port}` shows every failing hunk"
        )


@dataclass(slots=True)
class Step:
    """One patch applied: what changed and how. ``sound`` is False from the first failure on."""

    patch: Patch
    tree: Oid
    changes: list[Change]
    by: str
    """``strict``, ``git`` or ``memo``; ``failed`` when only parts applied."""
    why_git: str = ""
    failures: list[Failure] = field(default_factory=list)
    sound: bool = True


class Blobs:
    """File contents: made by earlier patches, or the upstream's (None: not covered)."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._there: dict[Oid, bytes | None] = {}
        self.made: dict[Oid, bytes] = {}

    def fetch(self, oids: Iterable[Oid]) -> None:
        """Bring many upstream blobs at once."""
        wanted = [oid for oid in dict.fromkeys(oids) if oid not in self._there]
        if not wanted:
            return
        try:
            got = self._upstream.blobs(wanted)
        except SourceUnavailable:
            present = self._upstream.odb.has(wanted)
            got = self._upstream.odb.read_many([oid for oid in wanted if oid in present])
        for oid in wanted:
            body = got.get(oid)
            if body is not None and blob_id(body) != oid:
                raise CorruptSource(
                    f"{self._upstream.git_dir}: blob {oid} holds other bytes than its id; "
                    "run `porter store verify`"
                )
            self._there[oid] = body

    def __call__(self, oid: Oid) -> bytes | None:
        if (made := self.made.get(oid)) is not None:
            return made
        self.fetch([oid])
        return self._there[oid]


class Builder:
    """Applies patches one on another, and goes on after a failure so that all can be told."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._trees: dict[Oid, bytes] = {}
        self.tree = TreeEdit(upstream.pin.tree, self._read_tree)
        self.blobs = Blobs(upstream)

    def run(self, patches: Sequence[Patch]) -> list[Step]:
        """Apply every patch; raises SourceUnavailable when a level cannot even be stated."""
        self._prefetch(patches)
        steps: list[Step] = []
        sound = True
        with Scratch(self._upstream.git_dir / "objects") as scratch:
            for patch in patches:
                step = self._apply(patch, scratch)
                sound = sound and not step.failures
                step.sound = sound
                steps.append(step)
        return steps

    def _apply(self, patch: Patch, scratch: Scratch) -> Step:
        parent = self.tree.write()
        try:
            changes = apply_strictly(patch.diff, self.tree, self.blobs)
            step = Step(patch, parent, changes, "strict")
        except NotStrict as reason:
            step = self._ask_git(patch, parent, scratch, reason)
        self.blobs.made.update(
            (c.entry.oid, c.content) for c in step.changes if c.entry and c.content is not None
        )
        step.tree = self.tree.write()
        return step

    def _ask_git(self, patch: Patch, parent: Oid, scratch: Scratch, reason: NotStrict) -> Step:
        self._refuse_uncovered(patch, reason)
        scratch.put("tree", self.tree.fresh)
        scratch.put("blob", self.blobs.made)
        where = f"{show_path(reason.path)}: " if reason.path else ""
        try:
            changes = apply_with_git(scratch, parent, patch.raw, patch.diff)
            self.tree.change([(c.path, c.entry) for c in changes])
            return Step(patch, parent, changes, "git", where + str(reason))
        except (GitRefused, PathConflict) as refusal:
            from porter.diagnose import salvage

            changes, failures = salvage(patch, self.tree, self.blobs, str(refusal))
            return Step(patch, parent, changes, "failed", where + str(reason), failures)

    def _refuse_uncovered(self, patch: Patch, reason: NotStrict) -> None:
        for file in patch.diff.files:
            entry = self.tree.get(file.old_path) if file.old_path is not None else None
            if entry is not None and entry.is_blob and self.blobs(entry.oid) is None:
                raise SourceUnavailable(
                    f"{patch.path}:{file.line}: {show_path(file.path)}: the patch needs git "
                    f"({reason}) and no source covers this file; fetch the upstream with git"
                )

    def _read_tree(self, oid: Oid) -> bytes:
        body = self._trees.get(oid)
        if body is None:
            body = self._trees[oid] = self._upstream.odb.read(oid)
        return body

    def _prefetch(self, patches: Sequence[Patch]) -> None:
        """Bring the folders and files that the series touches in few reads."""
        paths = {path for patch in patches for file in patch.diff.files for path in file.paths}
        found = self.tree.prefetch(paths, self._upstream.odb.read_many, self._trees)
        self.blobs.fetch(entry.oid for entry in found if entry.is_blob)


def build_levels(
    upstream: Upstream, series: Series, *, write: bool = False, memo: bool = True
) -> tuple[Level, ...]:
    """Return every level of ``series``, level 0 first.

    With ``write`` the store holds them all on return. Raises ApplyFailed with every failing hunk of
    every patch; SourceUnavailable when a patch needs a file that no source covers.
    """
    if memo and (levels := recall_levels(upstream, series)) is not None:
        wanted = [*(level.commit for level in levels), *(level.tree for level in levels)]
        blobs = {blob for level in levels for blob in level.files.values() if blob}
        if not write or upstream.odb.has([*wanted, *blobs]) >= {*wanted, *blobs}:
            return levels
    builder = Builder(upstream)
    steps = builder.run(series.patches)
    failures = [failure for step in steps for failure in step.failures]
    if failures:
        raise ApplyFailed(series.port, failures)
    levels = levels_of(upstream, steps)
    if memo:
        remember_levels(upstream, steps)
    if write:
        write_levels(upstream, builder, levels)
    return levels


def levels_of(upstream: Upstream, steps: Sequence[Step]) -> tuple[Level, ...]:
    """Number and name the results of a build (up to its first failure)."""
    levels = [Level(0, UPSTREAM, upstream.pin.tree, upstream.commit, None, {})]
    for step in steps:
        if not step.sound:
            break
        claimed = frozenset(c.path for c in step.changes if c.claimed)
        levels.append(_next(levels[-1], step.patch, step.tree, _files(step.changes), claimed))
    return tuple(levels)


def recall_levels(upstream: Upstream, series: Series) -> tuple[Level, ...] | None:
    """Return every level from memos alone, or None when one is absent."""
    levels = [Level(0, UPSTREAM, upstream.pin.tree, upstream.commit, None, {})]
    for patch in series.patches:
        known = memos.recall(memos.memo_key(levels[-1].tree, patch.sha256))
        if known is None:
            return None
        levels.append(_next(levels[-1], patch, known.tree, known.files, frozenset()))
    return tuple(levels)


def remember_levels(upstream: Upstream, steps: Sequence[Step]) -> None:
    """Write a memo for every patch that applied to contents we had."""
    parent = upstream.pin.tree
    for step in steps:
        if step.failures:
            return
        if not any(change.claimed for change in step.changes):
            key = memos.memo_key(parent, step.patch.sha256)
            memos.remember(key, memos.Remembered(step.tree, _files(step.changes)))
        parent = step.tree


def write_levels(upstream: Upstream, builder: Builder, levels: Sequence[Level]) -> None:
    """Put every object of the levels into the store, in one pack."""
    objects = [("blob", body) for body in builder.blobs.made.values()]
    objects += [("tree", body) for body in builder.tree.fresh.values()]
    for below, level in pairwise(levels):
        assert level.patch is not None
        objects.append(("commit", _commit_body(below.commit, level.patch, level.tree)))
    upstream.odb.write(objects)


def find_level(levels: Sequence[Level], text: str) -> Level:
    """Return the level that ``text`` names: a number, a name, or a unique prefix of one.

    Raises BadInput, with the nearest name, when there is none or more than one.
    """
    if text.isdigit():
        if int(text) < len(levels):
            return levels[int(text)]
        raise BadInput(f"no level {text}; the last is {len(levels) - 1} ({levels[-1].name})")
    by_name = {level.name: level for level in levels}
    if text in by_name:
        return by_name[text]
    starting = [level for level in levels if text and level.name.startswith(text)]
    if len(starting) == 1:
        return starting[0]
    if starting:
        names = ", ".join(level.name for level in starting)
        raise BadInput(f"level {text!r} could be {names}; give more of the name, or the number")
    import difflib

    near = difflib.get_close_matches(text, by_name, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(by_name)}"
    raise BadInput(f"no level {text!r}; {hint}")


def _files(changes: Iterable[Change]) -> dict[bytes, Oid | None]:
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
