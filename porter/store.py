"""The store: one bare repository per upstream in the cache, filled from a pin's sources.

    upstream = open_upstream(root, pins.port("diffusers"))
    upstream.listing()           # path -> entry of level 0, complete even when a source is partial
    upstream.blobs(oids)         # contents; those not in the store yet come in ONE git fetch
    upstream.odb                 # trees, and where level commits are written

What holds, whoever is killed when:

- An object is in the store wholly or not at all (packs appear by one rename of their index).
- The pinned commit is in the store only together with all its trees, so "the commit is there" is
  the whole test of a warm store, and a warm store is used without lock, network or writing.
- Writers of one upstream take turns (a lock file beside the repository; the system frees it when
  its holder dies), and look again once they hold it.
- Nothing is taken on trust: ids are hashes of content, git hashes what it receives, the archive of
  a release is hashed before it is opened, and every object is hashed again when read.

The repository has no promisor remote and no history below the pin: a work tree that borrows its
objects (``objects/info/alternates``) lists ``Upstream.commit`` in its own ``shallow`` file when
that commit has parents, and keeps paths outside ``Upstream.available()`` out of its sparse
checkout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from porter.errors import CorruptSource, SourceUnavailable
from porter.gitfetch import (
    FetchFailed,
    Progress,
    create_repository,
    fetch_objects,
    publish_packs,
    staging,
)
from porter.objects import MODE_TREE, Entry, Oid, Signature, encode_commit, hash_object
from porter.odb import Odb
from porter.pins import GitSource, Pin, read_commit, read_listing, tree_objects
from porter.places import cache_dir

_RETRIES = 64  # blobs a remote may lack one by one before the rest is given up


@dataclass(frozen=True)
class Coverage:
    """What a fetch came to. ``missing`` are the wanted paths that no source served."""

    wanted: int
    covered: int
    source: str
    missing: tuple[bytes, ...] = ()
    bytes_received: int = 0
    reasons: tuple[str, ...] = ()


def store_dir() -> Path:
    """Return the folder of the upstreams' repositories."""
    return cache_dir() / "store"


def repository(name: str) -> Path:
    """Return the store's repository for the upstream ``name`` (it may not exist)."""
    return store_dir() / f"{name}.git"


@contextmanager
def upstream_lock(name: str) -> Iterator[None]:
    """Hold the one lock for writing to an upstream's repository."""
    folder = store_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / f"{name}.lock")):
        yield


def offline_asked() -> bool:
    """True when PORTER_OFFLINE forbids the network."""
    return os.environ.get("PORTER_OFFLINE", "") not in ("", "0")


@dataclass
class Upstream:
    """An upstream in the store, opened. ``commit`` is level 0's commit."""

    root: Path
    pin: Pin
    git_dir: Path
    odb: Odb
    commit: Oid
    offline: bool = False
    progress: Progress | None = None
    received: int = 0
    _listing: dict[bytes, Entry] | None = field(default=None, repr=False)

    def close(self) -> None:
        """End the reading processes."""
        self.odb.close()

    def listing(self) -> dict[bytes, Entry]:
        """Return level 0's files, links and submodules by path; complete with any source."""
        if self._listing is None:
            self._listing = read_listing(self.root, self.pin) or self.odb.flat(self.pin.tree)
        return self._listing

    def available(self) -> set[bytes]:
        """Return the paths of level 0 whose contents are in the store now."""
        blobs = {path: entry.oid for path, entry in self.listing().items() if entry.is_blob}
        present = self.odb.has(blobs.values())
        return {path for path, oid in blobs.items() if oid in present}

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the contents of blobs, bringing absent ones from the pin's sources at once.

        Raises SourceUnavailable, naming the paths that no source serves and why.
        """
        wanted = list(dict.fromkeys(oids))
        found = self.odb.read_many(wanted)
        absent = [oid for oid in wanted if oid not in found]
        if absent:
            reasons = self.bring(absent)
            found.update(self.odb.read_many(absent))
            if lacking := [oid for oid in absent if oid not in found]:
                raise SourceUnavailable(self._not_served(lacking, reasons))
        return found

    def bring(self, oids: Iterable[Oid]) -> tuple[str, ...]:
        """Bring what the store lacks of ``oids`` from the sources; return what went wrong."""
        wanted = set(oids)
        if not wanted - self.odb.has(wanted):
            return ()
        if self.offline:
            return ("offline",)
        reasons: list[str] = []
        with upstream_lock(self.pin.name):
            for source in self.pin.sources:
                absent = wanted - self.odb.has(wanted)
                if not absent:
                    break
                try:
                    self.received += _bring_blobs(self, source, absent)
                except FetchFailed as error:
                    reasons.append(f"{source}: {error}")
        return tuple(reasons)

    def _not_served(self, oids: list[Oid], reasons: tuple[str, ...]) -> str:
        lacking = set(oids)
        paths = [
            path.decode(errors="replace")
            for path, entry in self.listing().items()
            if entry.oid in lacking
        ]
        names = ", ".join(paths[:4]) or ", ".join(oids[:4])
        more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
        why = "; ".join(reasons) or "its sources hold other files"
        return f"{self.pin.name}: no source serves {names}{more} ({why})"


def open_upstream(
    root: Path, pin: Pin, *, offline: bool = False, progress: Progress | None = None
) -> Upstream:
    """Return ``pin`` as an upstream whose commit and trees are in the store.

    Fetches them when they are not, from the pin's sources in order. Raises SourceUnavailable, with
    each source's reason, when none serves, and CorruptSource when what a source serves, or what the
    pin's own files say, is not what the pin names.
    """
    git_dir = repository(pin.name)
    commit = pin.commit or hash_object("commit", release_commit(pin))
    upstream = Upstream(
        root, pin, git_dir, Odb(git_dir), commit, offline or offline_asked(), progress
    )
    if _ready(upstream):
        return upstream
    if upstream.offline:
        raise SourceUnavailable(
            f"{pin.name}: not in the store and porter is offline; "
            f"`porter fetch {pin.name}` brings it when a source can be reached"
        )
    with upstream_lock(pin.name):
        if not _ready(upstream):
            create_repository(git_dir)
            _bring_commit(upstream)
    return upstream


def _ready(upstream: Upstream) -> bool:
    if not (upstream.git_dir / "objects").is_dir():
        return False
    body = upstream.odb.read_many((upstream.commit,)).get(upstream.commit)
    if body is None:
        return False
    _expect_tree(upstream.pin, upstream.commit, body)
    return True


def _expect_tree(pin: Pin, commit: Oid, body: bytes) -> None:
    tree = body.split(b"\n", 1)[0].removeprefix(b"tree ").decode(errors="replace")
    if tree != pin.tree:
        raise CorruptSource(
            f"{pin.name}: expected commit {commit} to hold tree {pin.tree}, found tree {tree}; "
            f"correct upstream_pins.yaml"
        )


def release_commit(pin: Pin) -> bytes:
    """Return the body of the commit that stands for a source release: made from the pin alone."""
    assert pin.sdist is not None
    who = Signature("porter", "porter@localhost", 946684800)
    text = f"{pin.sdist.name} {pin.sdist.version} (source release)\n\nsha256 {pin.sdist.sha256}\n"
    return encode_commit(pin.tree, (), who, who, text)


def _bring_commit(upstream: Upstream) -> None:
    pin = upstream.pin
    reasons = []
    for source in pin.sources:
        try:
            if isinstance(source, GitSource) and source.commit == pin.commit:
                upstream.received += _fetch_commit(upstream, source)
                return
        except FetchFailed as error:
            reasons.append(f"{source}: {error}")
    if _commit_from_listing(upstream):
        return
    raise SourceUnavailable(f"{pin.name}: no source could be used ({'; '.join(reasons)})")


def _commit_from_listing(upstream: Upstream) -> bool:
    """Write commit and trees from the pin's own files; False when it has none."""
    root, pin = upstream.root, upstream.pin
    listing = read_listing(root, pin)
    commit = release_commit(pin) if pin.commit is None else read_commit(root, pin)
    if listing is None or commit is None:
        return False
    _expect_tree(pin, upstream.commit, commit)
    check_names(pin, listing)
    trees = [("tree", body) for _, body in tree_objects(listing).values()]
    upstream.odb.write([*trees, ("commit", commit)])
    return True


def _fetch_commit(upstream: Upstream, source: GitSource) -> int:
    pin = upstream.pin
    with staging(pin.name) as fresh:
        received = fetch_objects(
            fresh, source.url, [source.commit], f"{pin.name}: commit and trees", upstream.progress
        )
        with Odb(fresh) as odb:
            body = odb.read_many((source.commit,)).get(source.commit)
            if body is None:
                raise FetchFailed(f"it sent no commit {source.commit}")
            _expect_tree(pin, source.commit, body)
            check_names(pin, odb.flat(pin.tree))
        publish_packs(fresh, upstream.git_dir)
    return received


def _bring_blobs(upstream: Upstream, source: object, oids: set[Oid]) -> int:
    if not isinstance(source, GitSource):
        return 0
    received = 0
    wanted = set(oids)
    with staging(upstream.pin.name) as fresh:
        for _ in range(_RETRIES):
            try:
                received += fetch_objects(
                    fresh,
                    source.url,
                    sorted(wanted),
                    f"{upstream.pin.name}: files",
                    upstream.progress,
                )
                break
            except FetchFailed as error:
                if error.absent not in wanted:
                    raise
                wanted.discard(error.absent)
                if not wanted:
                    raise
        publish_packs(fresh, upstream.git_dir)
    return received


def check_names(pin: Pin, entries: Mapping[bytes, Entry]) -> None:
    """Refuse a tree whose paths could leave the folder it is written to.

    Raises CorruptSource for ``..``, an empty part, or a part that some file system takes for
    ``.git``.
    """
    for path, entry in entries.items():
        for part in path.split(b"/"):
            if part in (b"", b".", b"..") or _is_dot_git(part):
                raise CorruptSource(
                    f"{pin.name}: expected plain paths in tree {pin.tree}, found "
                    f"{path.decode(errors='replace')!r}"
                )
        if entry.mode == MODE_TREE:
            raise ValueError(f"{path!r}: a tree in a flat listing")


def _is_dot_git(part: bytes) -> bool:
    name = part.decode("utf-8", errors="replace").lower()
    name = "".join(
        c
        for c in name
        if not (
            0x200B <= ord(c) <= 0x200F
            or 0x202A <= ord(c) <= 0x202E
            or 0x206A <= ord(c) <= 0x206F
            or ord(c) == 0xFEFF
        )
    )
    name = name.split(":")[0].rstrip(". ")
    return name in (".git", "git~1")


def fetch(
    root: Path,
    pin: Pin,
    paths: Iterable[str] | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> Coverage:
    """Bring a pin's wanted files (or those under ``paths``) into the store; say what is covered."""
    upstream = open_upstream(root, pin, offline=offline, progress=progress)
    try:
        chosen = pin if paths is None else _narrowed(pin, paths)
        entries = {
            path: entry.oid
            for path, entry in upstream.listing().items()
            if entry.is_blob and chosen.wants(path)
        }
        reasons = upstream.bring(entries.values())
        present = upstream.odb.has(entries.values())
        missing = tuple(path for path, oid in entries.items() if oid not in present)
        source = "git" if upstream.received else "store"
        return Coverage(
            len(entries), len(entries) - len(missing), source, missing, upstream.received, reasons
        )
    finally:
        upstream.close()


def _narrowed(pin: Pin, paths: Iterable[str]) -> Pin:
    from dataclasses import replace

    return replace(pin, wanted=tuple(paths))
