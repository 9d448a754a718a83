"""Apply the patches of a series one after another, in memory.

It takes one read of the touched folders and files and one SHA-1 per changed object. Diffs that the
strict applier refuses go to ``git apply``. When git refuses one too, every failing hunk is reported
and the rest of the patch is applied, so that the patches after it are judged as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from porter.errors import SourceUnavailable
from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.git.quoting import show_path
from porter.git.treeedit import PathConflict, TreeEdit
from porter.levels.applier import FileChange, NotStrict, apply_strictly
from porter.series.series import Patch

if TYPE_CHECKING:
    from porter.levels.diagnose import Offset, PatchFailure
    from porter.levels.gitapply import Names, Scratch
    from porter.upstream.listed import ListedUpstream
    from porter.upstream.store import Upstream

    UpstreamObjects = Upstream | ListedUpstream


@dataclass(slots=True)
class Step:
    """One applied patch: what changed and how. ``sound`` is False from the first failure on."""

    patch: Patch
    parent: Oid
    tree: Oid
    changes: list[FileChange]
    by: str
    """``strict`` or ``git``; ``failed`` when only parts applied."""
    why_git: str = ""
    failures: list[PatchFailure] = field(default_factory=list)
    offsets: list[Offset] = field(default_factory=list)
    """Hunks that git applied at another line than they name."""
    sound: bool = True


class Blobs:
    """File contents, made by earlier patches or read from the upstream (None: not covered)."""

    def __init__(self, upstream: UpstreamObjects) -> None:
        self._upstream = upstream
        self.read: dict[Oid, bytes | None] = {}
        self.made: dict[Oid, bytes] = {}

    def fetch(self, oids: Iterable[Oid]) -> None:
        """Fetch many upstream blobs at once."""
        wanted = [oid for oid in dict.fromkeys(oids) if oid not in self.read]
        if not wanted:
            return
        try:
            got = self._upstream.blobs(wanted)
        except SourceUnavailable:
            present = self._upstream.odb.has(wanted)
            got = self._upstream.odb.read_many([oid for oid in wanted if oid in present])
        for oid in wanted:
            self.read[oid] = got.get(oid)

    def __call__(self, oid: Oid) -> bytes | None:
        if (made := self.made.get(oid)) is not None:
            return made
        self.fetch([oid])
        return self.read[oid]


Stating = Literal["never", "uncovered", "always"]
"""Which patches that the strict applier refuses are judged by what they state: none, those on files
that no source covers, or all of them (there is no store for git to read)."""


class Builder:
    """Applies patches one after another, and continues after a failure to report them all.

    ``stating`` says when a patch is compared with the tree by its headers and index lines alone:
    where contents are missing, a contradiction then fails the patch, in place of SourceUnavailable.
    """

    def __init__(self, upstream: UpstreamObjects, stating: Stating = "never") -> None:
        self._upstream = upstream
        self._stating = stating
        self._scratch: Scratch | None = None
        self._names: dict[str, Names] = {}
        self.read_trees: dict[Oid, bytes] = {}
        self.tree = TreeEdit(upstream.pin.tree, self._read_tree)
        self.blobs = Blobs(upstream)

    def run(self, patches: Sequence[Patch]) -> list[Step]:
        """Apply every patch. Raises SourceUnavailable when a level's ids cannot be determined."""
        self._prefetch(patches)
        steps: list[Step] = []
        sound = True
        for patch in patches:
            step = self._apply(patch)
            sound = sound and not step.failures
            step.sound = sound
            steps.append(step)
        return steps

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._scratch is not None:
            self._scratch.close()

    def scratch(self) -> Scratch:
        """Return a repository in which git sees the store's objects and all made here."""
        if self._scratch is None:
            from porter.levels.gitapply import Scratch

            self._scratch = Scratch(self._upstream.git_dir / "objects")
        self._scratch.put("tree", self.tree.fresh, self._held)
        self._scratch.put("blob", self.blobs.made, self._held)
        return self._scratch

    def _held(self, oids: AbstractSet[Oid]) -> AbstractSet[Oid]:
        """Return those of ``oids`` that git sees in the store; a listing is none."""
        is_store = isinstance(self._upstream.odb, Odb)
        return self._upstream.present(oids) if is_store else frozenset()

    def _apply(self, patch: Patch) -> Step:
        parent = self.tree.write()
        try:
            changes = apply_strictly(patch.diff, self.tree, self.blobs)
            step = Step(patch, parent, parent, changes, "strict")
        except NotStrict as reason:
            step = self._ask_git(patch, parent, reason)
        self.blobs.made.update(
            (c.entry.oid, c.content) for c in step.changes if c.entry and c.content is not None
        )
        step.tree = self.tree.write()
        return step

    def _ask_git(self, patch: Patch, parent: Oid, reason: NotStrict) -> Step:
        from porter.levels.diagnose import moved_hunks, partial_apply
        from porter.levels.gitapply import GitRefused, apply_with_git

        where = f"{show_path(reason.path)}: " if reason.path else ""
        why = where + str(reason)
        try:
            names = self._named(patch)
            contents, uncovered = self._contents(patch, names, parent)
            if uncovered is not None or self._stating == "always":
                return self._state(patch, parent, reason, uncovered)
            changes = apply_with_git(self.scratch(), parent, patch.raw, names, contents)
            offsets = moved_hunks(patch.diff, self.tree, self.blobs)
            self.tree.change([(c.path, c.entry) for c in changes])
            return Step(patch, parent, parent, changes, "git", why, offsets=offsets)
        except PathConflict as conflict:
            refusal = GitRefused(f"{show_path(conflict.args[0])}: a file and a folder of one name")
        except GitRefused as refused:
            refusal = refused
        changes, failures = partial_apply(
            patch.name, patch.diff, self.tree, self.blobs, str(refusal), refusal.line
        )
        return Step(patch, parent, parent, changes, "failed", why, failures)

    def _named(self, patch: Patch) -> Names:
        """Return the paths of a patch as git reads them. Raises GitRefused."""
        from porter.levels.gitapply import read_names

        if patch.sha256 not in self._names:
            self._names[patch.sha256] = read_names(patch.raw)
        return self._names[patch.sha256]

    def _contents(
        self, patch: Patch, names: Names, parent: Oid
    ) -> tuple[dict[Oid, bytes], bytes | None]:
        """Return what git may read to apply the patch, and the first path no source covers."""
        from porter.levels.gitapply import postimages

        entries = {path: self.tree.get(path) for path in sorted(names.paths)}
        wanted = {path: e.oid for path, e in entries.items() if e is not None and e.is_blob}
        results = postimages(self.scratch(), parent, patch.raw) if self._stating != "always" else ()
        self.blobs.fetch((*wanted.values(), *results))
        found = {oid: self.blobs(oid) for oid in (*wanted.values(), *results)}
        uncovered = next((path for path, oid in wanted.items() if found[oid] is None), None)
        return {oid: body for oid, body in found.items() if body is not None}, uncovered

    def _state(self, patch: Patch, parent: Oid, reason: NotStrict, uncovered: bytes | None) -> Step:
        """Judge a patch by what it states. Raises SourceUnavailable when that is not enough."""
        from porter.levels.diagnose import stated

        if self._stating != "never":
            changes, failures = stated(patch.name, patch.diff, self.tree, self.blobs)
            if failures:
                return Step(patch, parent, parent, changes, "failed", str(reason), failures)
        files = [f for f in patch.diff.files if uncovered in (None, *f.paths)]
        where = f":{files[0].line}: {show_path(files[0].path)}" if files else ""
        if uncovered is not None and not files:
            where = f": {show_path(uncovered)}"
        raise SourceUnavailable(
            f"{patch.path}{where}: the patch needs git ({reason}) and no source covers this file; "
            f"fetch the upstream with git",
            reason=f"{patch.name} needs git ({reason}) and a file that no source covers",
        )

    def _read_tree(self, oid: Oid) -> bytes:
        body = self.read_trees.get(oid)
        if body is None:
            body = self.read_trees[oid] = self._upstream.odb.read(oid)
        return body

    def _prefetch(self, patches: Sequence[Patch]) -> None:
        """Read the folders and files that the series touches in few reads, over one connection.

        Of a patch in another form than git's, git names the files.
        """
        paths = {path for patch in patches for file in patch.diff.files for path in file.paths}
        for patch in patches:
            if patch.diff.doubtful:
                paths |= self._paths_by_git(patch)
        found = self.tree.prefetch(paths, self._upstream.odb.read_many, self.read_trees)
        self.blobs.fetch(entry.oid for entry in found if entry.is_blob)

    def _paths_by_git(self, patch: Patch) -> AbstractSet[bytes]:
        """Return the paths of a patch as git reads them; none where git cannot read it."""
        from porter.levels.gitapply import GitRefused

        try:
            return self._named(patch).paths
        except GitRefused:
            return frozenset()
