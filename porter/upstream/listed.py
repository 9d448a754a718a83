"""An upstream of which only the listing is known: every file's id, and no content.

``patches/<pin>/upstream.listing`` and ``upstream.commit`` prove themselves (their hashes are the
pin's), so the ids of all trees follow from them when no source answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from porter.errors import SourceUnavailable
from porter.git.objects import Entry, Oid, hash_object
from porter.git.odb import MissingObject
from porter.upstream.pins import Pin, read_commit, read_listing, tree_objects
from porter.upstream.sources import check_names, release_commit


@dataclass(frozen=True)
class ListedObjects:
    """The tree objects and the commit that a listing comes to. Nothing is written."""

    git_dir: Path
    bodies: dict[Oid, bytes]

    def read(self, oid: Oid) -> bytes:
        """Return an object's body. Raises MissingObject."""
        if oid not in self.bodies:
            raise MissingObject(self.git_dir, oid)
        return self.bodies[oid]

    def read_many(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the bodies of those that are known."""
        return {oid: self.bodies[oid] for oid in oids if oid in self.bodies}

    def has(self, oids: Iterable[Oid]) -> set[Oid]:
        """Return those that are known."""
        return set(oids) & self.bodies.keys()

    def write(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Refuse: there is no store to write to."""
        raise AssertionError(f"{self.git_dir}: {len(list(objects))} objects for no store")


@dataclass(frozen=True)
class ListedUpstream:
    """What :class:`porter.upstream.store.Upstream` is, without any content."""

    pin: Pin
    git_dir: Path
    odb: ListedObjects
    commit: Oid
    entries: dict[bytes, Entry]

    def listing(self) -> dict[bytes, Entry]:
        """Return level 0's files, links and submodules by path."""
        return self.entries

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the contents of no blob, or raise SourceUnavailable."""
        if list(oids):
            raise SourceUnavailable(f"{self.pin.name}: no content at hand")
        return {}


def listed_upstream(root: Path, pin: Pin) -> ListedUpstream | None:
    """Return what the files beside the patches tell of ``pin``; None when they are not there.

    Raises CorruptSource and BadInput for files that are not the pin's.
    """
    entries = read_listing(root, pin)
    body = release_commit(pin) if pin.commit is None else read_commit(root, pin)
    if entries is None or body is None:
        return None
    check_names(pin, entries)
    commit = hash_object("commit", body)
    bodies = dict(tree_objects(entries).values()) | {commit: body}
    where = root / "patches" / pin.name / "upstream.listing"
    return ListedUpstream(pin, where, ListedObjects(where, bodies), commit, entries)
