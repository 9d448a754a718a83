"""Fill an upstream's repository from its pin's sources, in the pin's order.

A pin names content, not a host: any source of an object with the right id will do. The git URL
comes first (the user's ``url.<base>.insteadOf`` may point it at a mirror), then each alternate, and
the archive of Software Heritage last. When a source fails, its reason is recorded and the next one
is tried.

The caller holds the upstream's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import CorruptSource
from porter.git.objects import Entry, Oid, Signature, encode_commit, hash_object
from porter.git.odb import Odb
from porter.git.safepath import is_dot_git
from porter.upstream.archive import Archive, ArchiveFailed, archive_failure, software_heritage
from porter.upstream.failure import SourceFailure, no_source, source_failure
from porter.upstream.gitfetch import FetchFailed, Progress, fetch_objects, publish_packs, staging
from porter.upstream.pins import (
    GitSource,
    Pin,
    Sdist,
    read_commit,
    read_listing,
    tree_objects,
    tree_of_commit,
)
from porter.upstream.sdist import Release, bring_release, check_archive, read_release

_RETRIES = 64  # missing blobs that a remote may report, one per answer, before it is given up


@dataclass
class Supply:
    """Fetches objects of one pin into the repository ``git_dir`` and records their sources."""

    root: Path
    pin: Pin
    git_dir: Path
    odb: Odb
    progress: Progress | None = None
    silent: dict[GitSource | Sdist, SourceFailure] = field(default_factory=dict)
    """Sources known not to answer, from the caller or from an earlier try. They are skipped."""
    received: int = 0
    served: list[str] = field(default_factory=list)
    _holdings: dict[GitSource, set[Oid]] = field(default_factory=dict)

    def bring_commit(self) -> None:
        """Store level 0's commit with all its trees.

        Raises SourceUnavailable with every source's reason, CorruptSource for a pin that
        contradicts itself or its commit.
        """
        failures = [*self.not_asked()]
        for source in self.asked():
            try:
                if isinstance(source, Sdist):
                    self._commit_beside_release(source)
                elif source.commit == self.pin.commit:
                    self._fetch_commit(source)
                else:
                    self._held_by(source)  # proves that it answers
                    self._write_commit(read_listing(self.root, self.pin))
            except FetchFailed as error:
                failures.append(self._failed(source, error))
                continue
            return
        if (archive := software_heritage()) is not None:
            try:
                self._archived_commit(archive)
            except ArchiveFailed as error:
                failures.append(archive_failure(archive, error, failures))
            else:
                return
        raise no_source(self.pin.name, failures)

    def bring_blobs(self, wanted: set[Oid]) -> tuple[SourceFailure, ...]:
        """Store what is missing of ``wanted``, as far as sources serve it; return the failures."""
        failures = [*self.not_asked()]
        for source in self.asked():
            absent = wanted - self.odb.has(wanted)
            if not absent:
                break
            try:
                if isinstance(source, Sdist):
                    self._blobs_of_release(source)
                else:
                    self._fetch_blobs(source, absent)
            except FetchFailed as error:
                failures.append(self._failed(source, error))
        absent = wanted - self.odb.has(wanted)
        if absent and (archive := software_heritage()) is not None:
            try:
                self._archived_blobs(archive, absent)
            except ArchiveFailed as error:
                failures.append(archive_failure(archive, error, failures))
        return tuple(failures)

    def _archived_commit(self, archive: Archive) -> None:
        """Store commit and trees from the archive, or from the pin's own files if it has the tree.

        Raises ArchiveFailed.
        """
        listing, what = read_listing(self.root, self.pin), f"{self.pin.name}: folders"

        def each(count: int) -> None:
            if self.progress:
                self.progress(f"{what} from {archive}", count, 0, 0)

        if listing is None:
            listing = archive.files(self.pin.tree, each)
        else:
            archive.directory(self.pin.tree)  # proves that the archive has a copy
        commit = None
        if self.pin.commit is not None and read_commit(self.root, self.pin) is None:
            commit = archive.commit(self.pin.commit)
            expect_tree(self.pin, self.pin.commit, commit)
        self._write_commit(listing, commit)
        self._count(archive, 0)

    def _archived_blobs(self, archive: Archive, absent: set[Oid]) -> None:
        """Store files from the archive, one by one; what came before a failure stays.

        A file that the archive lacks does not keep it from the others. Raises ArchiveFailed.
        """
        contents: list[tuple[str, bytes]] = []
        lacking: ArchiveFailed | None = None
        try:
            for count, oid in enumerate(sorted(absent), 1):
                try:
                    contents.append(("blob", archive.content(oid)))
                except ArchiveFailed as error:
                    if not archive.answers():
                        raise
                    lacking = error
                if self.progress:
                    what = f"{self.pin.name}: files from {archive}"
                    self.progress(what, count, len(absent), sum(len(c) for _, c in contents))
        finally:
            if contents:
                self.odb.write(contents)
                self._count(archive, sum(len(content) for _, content in contents))
        if lacking is not None:
            raise lacking

    def take_release(self, source: Sdist, archive: Path) -> None:
        """Store what an archive at hand has of the pin: files and, where it can tell, its commit.

        Raises FetchFailed for another archive than the pin names, and CorruptSource.
        """
        check_archive(source, archive)
        release = read_release(archive, self._blobs_of_pin(source))
        self.odb.write([("blob", content) for content in release.blobs.values()])
        listing = read_listing(self.root, self.pin)
        self._write_commit(release.entries if listing is None else listing)

    def _failed(self, source: GitSource | Sdist, error: FetchFailed) -> SourceFailure:
        failure = source_failure(source, str(error))
        if failure.away:
            self.silent[source] = failure
        return failure

    def asked(self) -> tuple[GitSource | Sdist, ...]:
        """Return the sources to ask: all that are not known to be silent."""
        return tuple(s for s in self.pin.sources if s not in self.silent)

    def not_asked(self) -> tuple[SourceFailure, ...]:
        """Return the failures of the silent sources."""
        return tuple(self.silent[s] for s in self.pin.sources if s in self.silent)

    def _fetch_commit(self, source: GitSource) -> None:
        name = self.pin.name
        with staging(name) as fresh:
            self._count(source, fetch_objects(
                fresh, source.url, [source.commit], f"{name}: commit and trees", self.progress
            ))  # fmt: skip
            with Odb(fresh) as odb:
                body = odb.read_many((source.commit,)).get(source.commit)
                if body is None:
                    raise FetchFailed(f"it sent no commit {source.commit}")
                expect_tree(self.pin, source.commit, body)
                check_names(self.pin, odb.flat(self.pin.tree))
            publish_packs(fresh, self.git_dir)

    def _fetch_blobs(self, source: GitSource, absent: set[Oid]) -> None:
        wanted = set(absent)
        lacking: Oid | None = None
        if source.commit != self.pin.commit:
            wanted &= self._held_by(source)
        with staging(self.pin.name) as fresh:
            for _ in range(_RETRIES):
                if not wanted:
                    break
                try:
                    received = fetch_objects(
                        fresh, source.url, sorted(wanted), f"{self.pin.name}: files", self.progress
                    )
                except FetchFailed as error:
                    if error.absent is None or error.absent not in wanted:
                        raise
                    lacking = error.absent
                    wanted.discard(lacking)
                else:
                    self._count(source, received)
                    break
            publish_packs(fresh, self.git_dir)
        if lacking is not None:
            raise FetchFailed(f"it lacks {len(absent) - len(wanted)} of {len(absent)} files")

    def _held_by(self, source: GitSource) -> set[Oid]:
        """Return the blobs of a source whose commit differs from the pin's: it may lack files."""
        if source not in self._holdings:
            with staging(self.pin.name) as fresh:
                what = f"{self.pin.name}: trees of another source"
                self._count(
                    source, fetch_objects(fresh, source.url, [source.commit], what, self.progress)
                )
                with Odb(fresh) as odb:
                    body = odb.read(source.commit)
                    entries = odb.flat(tree_of_commit(body)).values()
            self._holdings[source] = {entry.oid for entry in entries if entry.is_blob}
        return self._holdings[source]

    def _commit_beside_release(self, source: Sdist) -> None:
        """Read a release's files; its commit and listing come from the pin's own files."""
        release = self._blobs_of_release(source)
        listing = read_listing(self.root, self.pin)
        if listing is None and source == self.pin.sdist:
            # Whether it was read just now or before, it has the whole tree.
            release = release or bring_release(source, None, self.progress)
            listing = release.entries
        self._write_commit(listing)

    def _write_commit(
        self, listing: Mapping[bytes, Entry] | None, body: bytes | None = None
    ) -> None:
        """Store trees and commit; ``body`` stands in for the pin's own upstream.commit."""
        pin = self.pin
        commit = body or (
            release_commit(pin) if pin.commit is None else read_commit(self.root, pin)
        )
        if listing is None or commit is None:
            kind = "upstream.listing" if listing is None else "upstream.commit"
            raise FetchFailed(
                f"it can be used only with patches/{pin.name}/{kind}, which is missing"
            )
        check_names(pin, listing)
        trees = tree_objects(listing)
        if trees[b""][0] != pin.tree:
            raise CorruptSource(
                f"{pin.name}: expected tree {pin.tree}, found tree {trees[b''][0]} in its release; "
                f"correct upstream_pins.yaml: `tree: {trees[b''][0]}`"
            )
        self.odb.write([("tree", body) for _, body in trees.values()] + [("commit", commit)])

    def _blobs_of_release(self, source: Sdist) -> Release | None:
        """Store the files of a release that are in the pin's tree; None if already done."""
        marker = self.git_dir / f"porter-read-{source.sha256}-{self.pin.tree}"
        if marker.exists():
            return None
        wanted = self._blobs_of_pin(source)
        release = bring_release(source, wanted, self.progress)
        self._count(source, release.size)
        self.odb.write([("blob", content) for content in release.blobs.values()])
        marker.write_text(f"{source}: {len(release.blobs)} files stored\n")
        return release

    def _blobs_of_pin(self, source: Sdist) -> set[Oid] | None:
        listing = read_listing(self.root, self.pin)
        if listing is None:
            if source == self.pin.sdist:
                return None
            if not self.odb.has((self.pin.tree,)):
                raise FetchFailed(
                    f"it can be used only with patches/{self.pin.name}/upstream.listing, "
                    f"which is missing"
                )
            listing = self.odb.flat(self.pin.tree)
        return {entry.oid for entry in listing.values() if entry.is_blob}

    def _count(self, source: GitSource | Sdist | Archive, received: int) -> None:
        self.received += received
        if str(source) not in self.served:
            self.served.append(str(source))


def release_commit(pin: Pin) -> bytes:
    """Return the body of the commit that represents a source release, from the pin alone."""
    assert pin.sdist is not None
    who = Signature("porter", "porter@localhost", 946684800)
    text = f"{pin.sdist.name} {pin.sdist.version} (source release)\n\nsha256 {pin.sdist.sha256}\n"
    return encode_commit(pin.tree, (), who, who, text)


def level0_commit(pin: Pin) -> Oid:
    """Return level 0's commit id without opening the upstream."""
    return pin.commit or hash_object("commit", release_commit(pin))


def expect_tree(pin: Pin, commit: Oid, body: bytes) -> None:
    """Raise CorruptSource unless the commit's tree is the pin's."""
    tree = tree_of_commit(body)
    if tree != pin.tree:
        raise CorruptSource(
            f"{pin.name}: expected commit {commit} to hold tree {pin.tree}, found tree {tree}; "
            f"correct upstream_pins.yaml: `tree: {tree}`"
        )


def check_names(pin: Pin, entries: Mapping[bytes, Entry]) -> None:
    """Refuse a tree whose paths could leave the folder it is written to.

    Raises CorruptSource for ``..``, an empty part, or one that some file system takes for ``.git``.
    """
    for path in entries:
        for part in path.split(b"/"):
            if part in (b"", b".", b"..") or is_dot_git(part):
                raise CorruptSource(
                    f"{pin.name}: expected plain paths in tree {pin.tree}, found "
                    f"{path.decode(errors='replace')!r}"
                )
