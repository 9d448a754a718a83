"""An upstream known by its listing only: every file's id and no content.

``patches/<pin>/upstream.listing`` and ``upstream.commit`` need no trust (their hashes are the
pin's), so the ids of all trees follow from them when no source answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from porter.errors import SourceUnavailable
from porter.git.objects import Entry, Oid
from porter.git.odb import MissingObject
from porter.upstream.pins import Pin, read_commit, read_listing, tree_objects
from porter.upstream.sources import check_names, level0_commit, release_commit


@dataclass(frozen=True)
class ListedObjects:
    """The tree objects and the commit of a listing; read-only."""

    git_dir: Path
    bodies: dict[Oid, bytes]

    def read(self, oid: Oid) -> bytes:
        """Return an object's body. Raises MissingObject."""
        if oid not in self.bodies:
            raise MissingObject(self.git_dir, oid)
        return self.bodies[oid]

    def read_many(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Return the bodies of the known ones."""
        return {oid: self.bodies[oid] for oid in oids if oid in self.bodies}

    def has(self, oids: Iterable[Oid]) -> set[Oid]:
        """Return the known ones."""
        return set(oids) & self.bodies.keys()

    def write(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Refuse: there is no store to write to."""
        raise AssertionError(f"{self.git_dir}: {len(list(objects))} objects for no store")


@dataclass(frozen=True)
class ListedUpstream:
    """A stand-in for :class:`porter.upstream.store.Upstream` without contents."""

    pin: Pin
    git_dir: Path
    odb: ListedObjects
    commit: Oid
    entries: dict[bytes, Entry]

    def __enter__(self) -> ListedUpstream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def listing(self) -> dict[bytes, Entry]:
        """Return level 0's files, links and submodules by path."""
        return self.entries

    def present(self, oids: Iterable[Oid]) -> set[Oid]:
        """Return the trees and commits that follow from the listing; no contents."""
        return self.odb.has(oids)

    def blobs(self, oids: Iterable[Oid]) -> dict[Oid, bytes]:
        """Raise SourceUnavailable when any content is asked for."""
        if list(oids):
            raise SourceUnavailable(f"{self.pin.name}: no content available")
        return {}


def listed_upstream(root: Path, pin: Pin) -> ListedUpstream | None:
    """Return ``pin`` as its listing and commit files describe it; None when they are missing.

    Raises CorruptSource or BadInput for files that do not match the pin.
    """
    entries = read_listing(root, pin)
    body = release_commit(pin) if pin.commit is None else read_commit(root, pin)
    if entries is None or body is None:
        return None
    check_names(pin, entries)
    commit = level0_commit(pin)
    bodies = dict(tree_objects(entries).values()) | {commit: body}
    where = root / "patches" / pin.name / "upstream.listing"
    return ListedUpstream(pin, where, ListedObjects(where, bodies), commit, entries)
