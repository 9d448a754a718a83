"""The store: one bare repository per upstream in the cache, filled from a pin's sources.

Invariants, even if porter is killed at any moment:

- An object is in the store completely or not at all (packs appear by one rename of their index).
- The pinned commit is in the store only together with all its trees. So a store that has the commit
  is warm, and a warm store is used without lock, network or writing.
- Writers of one upstream take turns (a lock file beside the repository; the system frees it when
  its holder dies) and check again once they hold the lock.
- Nothing is trusted: ids are hashes of content, git hashes what it receives, the archive of a
  release is hashed before it is opened, and every object is hashed again when read.

The repository has no promisor remote and no history below the pin. A work tree that borrows its
objects (``objects/info/alternates``) registers itself
(:func:`porter.upstream.registry.register`), lists ``Upstream.commit`` in its own ``shallow``
file when that commit has parents, and keeps paths that the store lacks out of its sparse checkout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from porter.errors import SourceUnavailable
from porter.git.objects import Entry, Oid
from porter.git.odb import Odb
from porter.places import cache_dir
from porter.upstream.failure import OFFLINE, SourceFailure, short_reason, source_failure
from porter.upstream.gitfetch import Progress, create_repository
from porter.upstream.pins import GitSource, Pin, Sdist, read_listing
from porter.upstream.registry import register
from porter.upstream.sources import Supply, expect_tree, level0_commit


@dataclass(frozen=True)
class FileCoverage:
    """How many wanted files the store has. ``missing`` are those that no source served."""

    wanted: int
    covered: int
    source: str
    missing: tuple[bytes, ...] = ()
    bytes_received: int = 0
    reasons: tuple[SourceFailure, ...] = ()


def store_dir() -> Path:
    """Return the folder of the upstreams' repositories."""
    return cache_dir() / "store"


def repository(name: str) -> Path:
    """Return the store's repository for the upstream ``name`` (it may not exist)."""
    return store_dir() / f"{name}.git"


@contextmanager
def upstream_lock(name: str, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock for writing to an upstream's repository."""
    from filelock import FileLock, Timeout  # only writers pay for importing it

    folder = store_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"{name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if progress:
            progress(f"{name}: waiting for another porter", 0, 0, 0)
        held = lock.acquire()
    with held:
        yield


def offline_asked() -> bool:
    """Return whether PORTER_OFFLINE forbids the network."""
    return os.environ.get("PORTER_OFFLINE", "") not in ("", "0")


@dataclass
class Upstream:
    """An upstream in the store, opened; a context manager. ``commit`` is level 0's commit."""

    root: Path
    pin: Pin
    git_dir: Path
    odb: Odb
    commit: Oid
    supply: Supply
    offline: bool = False
    _listing: dict[bytes, Entry] | None = field(default=None, repr=False)
    _present: set[Oid] = field(default_factory=set, repr=False)

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the reading processes."""
        self.odb.close()

    def listing(self) -> dict[bytes, Entry]:
        """Return level 0's files, links and submodules by path; complete with any source."""
        if self._listing is None:
            self._listing = read_listing(self.root, self.pin) or self.odb.flat(self.pin.tree)
        return self._listing

    def present(self, oids: Iterable[Oid]) -> set[Oid]:
        """Return those of ``oids`` that the store holds; found ones are not checked again."""
        wanted = set(oids)
        self._present |= self.odb.has(wanted - self._present)
        return wanted & self._present

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the contents of blobs; fetch missing ones from the pin's sources at once.

        Raises SourceUnavailable, naming the paths that no source serves and why.
        """
        wanted = list(dict.fromkeys(oids))
        found = self.odb.read_many(wanted)
        absent = [oid for oid in wanted if oid not in found]
        if absent:
            reasons = self.bring(absent)
            found.update(self.odb.read_many(absent))
            if lacking := [oid for oid in absent if oid not in found]:
                raise self.not_served(lacking, reasons)
        return found

    def bring(self, oids: Iterable[Oid]) -> tuple[SourceFailure, ...]:
        """Fetch those of ``oids`` that the store lacks; return the failures."""
        wanted = set(oids)
        if not wanted - self.present(wanted):
            return ()
        if self.offline:
            return (source_failure(None, OFFLINE),)
        with upstream_lock(self.pin.name, self.supply.progress):
            return self.supply.bring_blobs(wanted)

    def cover(self, blobs: Mapping[bytes, Oid]) -> FileCoverage:
        """Fetch ``blobs`` (path -> id) and return which of them the store then holds."""
        reasons = self.bring(blobs.values())
        present = self.present(blobs.values())
        missing = tuple(path for path, oid in blobs.items() if oid not in present)
        return FileCoverage(
            wanted=len(blobs),
            covered=len(blobs) - len(missing),
            source=", ".join(self.supply.served) or "store",
            missing=missing,
            bytes_received=self.supply.received,
            reasons=reasons,
        )

    def not_served(
        self, oids: Iterable[Oid], failures: Iterable[SourceFailure]
    ) -> SourceUnavailable:
        """Return the error that names the missing files and the reasons in one line."""
        lacking, failures = set(oids), tuple(failures)
        paths = [
            path.decode(errors="replace")
            for path, entry in self.listing().items()
            if entry.oid in lacking
        ] or sorted(lacking)
        more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
        why = short_reason(failures) or "its sources hold other files"
        return SourceUnavailable(
            f"{self.pin.name}: no source serves {', '.join(paths[:4])}{more} ({why})",
            reason=why,
            detail="\n".join(map(str, failures)),
            away=all(failure.away for failure in failures),
        )


def open_upstream(
    root: Path,
    pin: Pin,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    silent: Mapping[GitSource | Sdist, SourceFailure] | None = None,
) -> Upstream:
    """Return ``pin`` as an upstream whose commit and trees are in the store.

    Fetches missing ones from the pin's sources in order, except those in ``silent``, which are
    known not to answer. Raises SourceUnavailable with each source's reason when none serves, and
    CorruptSource when a source or the pin's own files contradict the pin.
    """
    git_dir = repository(pin.name)
    odb = Odb(git_dir)
    upstream = Upstream(
        root=root,
        pin=pin,
        git_dir=git_dir,
        odb=odb,
        commit=level0_commit(pin),
        supply=Supply(root, pin, git_dir, odb, progress, dict(silent or {})),
        offline=offline or offline_asked(),
    )
    if _ready(upstream):
        register("projects", root)
        return upstream
    if upstream.offline:
        raise SourceUnavailable(
            f"{pin.name}: not in the store and porter is offline; "
            f"`porter fetch {pin.name}` fetches it once a source can be reached",
            reason=OFFLINE,
        )
    with upstream_lock(pin.name, progress):
        if not _ready(upstream):
            create_repository(git_dir)
            register("projects", root)
            upstream.supply.bring_commit()
    return upstream


def _ready(upstream: Upstream) -> bool:
    if not (upstream.git_dir / "objects").is_dir():
        return False
    body = upstream.odb.read_many((upstream.commit,)).get(upstream.commit)
    if body is None:
        return False
    expect_tree(upstream.pin, upstream.commit, body)
    return True


def fetch(
    root: Path,
    pin: Pin,
    paths: Iterable[str] | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> FileCoverage:
    """Fetch a pin's wanted files (or those under ``paths``); return what the store then has."""
    chosen = pin if paths is None else msgspec.structs.replace(pin, wanted=tuple(paths))
    with open_upstream(root, pin, offline=offline, progress=progress) as upstream:
        return upstream.cover(
            {
                path: entry.oid
                for path, entry in upstream.listing().items()
                if entry.is_blob and chosen.wants(path)
            }
        )
