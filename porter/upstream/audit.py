"""``porter store verify``: find and repair stored objects that changed on disk.

Every stored object is checked twice: its stored bytes against the CRC in the pack's index, which
identifies the object that a flipped byte belongs to, and its content against its id.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import CorruptSource, PorterError
from porter.git.objects import Oid
from porter.git.odb import Odb, encode_pack, index_pack
from porter.git.packs import DamagedPack, flipped_objects, read_index
from porter.upstream.gitfetch import drop_files, publish_packs, staging
from porter.upstream.pins import Pin, Pins, read_listing
from porter.upstream.sources import Supply
from porter.upstream.store import repository, store_dir, upstream_lock


@dataclass(frozen=True)
class Damage:
    """A damaged object of a file, or (``oid`` None) a damaged file."""

    file: Path
    oid: Oid | None
    problem: str


@dataclass(frozen=True)
class Audit:
    """The result of reading a whole repository."""

    objects: int
    damage: tuple[Damage, ...]


def audit(git_dir: Path) -> Audit:
    """Read and hash every object of a repository of the store."""
    damage: list[Damage] = []
    ids: dict[Oid, Path] = {}
    for pack in sorted((git_dir / "objects" / "pack").glob("*.pack")):
        damage += _pack_damage(pack, ids)
    ids.update(_loose(git_dir))
    known = {found.oid for found in damage}
    for oid in ids.keys() - _readable(git_dir, ids).keys():
        if oid not in known:
            damage.append(Damage(ids[oid], oid, "its content does not match its id"))
    return Audit(len(ids), tuple(damage))


def drop_damaged(git_dir: Path, name: str, damage: Iterable[Damage]) -> set[Oid]:
    """Delete damaged files from a repository, keep their sound objects; return the lost ids.

    The caller holds the upstream's lock and fetches lost objects again. Sound objects are in a new
    pack before a damaged one is deleted, so a kill at any moment loses nothing.
    """
    found = list(damage)
    files = {each.file for each in found}
    ids: set[Oid] = {each.oid for each in found if each.oid is not None}
    sound: dict[Oid, tuple[str, bytes]] = {}
    for file in files:
        if file.suffix == ".pack":
            try:
                ids |= {row.oid for row in read_index(file.with_suffix(".idx"))}
            except (DamagedPack, OSError):
                sound |= _reindexed(file, name)
    ids |= set(sound)
    sound |= _readable(git_dir, ids - set(sound))
    published: list[Path] = []
    pack = encode_pack(list(sound.values()))
    if pack is not None:
        with staging(name) as fresh:
            index_pack(fresh, pack)
            published = publish_packs(fresh, git_dir)
    drop_files(git_dir, files - set(published))
    return ids - set(sound)


def _pack_damage(pack: Path, ids: dict[Oid, Path]) -> Iterator[Damage]:
    try:
        rows = read_index(pack.with_suffix(".idx"))
    except FileNotFoundError:
        return  # an unfinished pack, which git ignores too; gc removes it
    except DamagedPack as error:
        yield Damage(pack, None, str(error))
        return
    ids.update((row.oid, pack) for row in rows)
    try:
        for oid in flipped_objects(pack, rows):
            yield Damage(pack, oid, "its stored bytes changed")
    except DamagedPack as error:
        yield Damage(pack, None, str(error))


def _loose(git_dir: Path) -> Iterator[tuple[Oid, Path]]:
    for folder in (git_dir / "objects").glob("[0-9a-f][0-9a-f]"):
        for path in folder.iterdir():
            if len(path.name) == 38:
                yield Oid(folder.name + path.name), path


def _readable(git_dir: Path, ids: Iterable[Oid]) -> dict[Oid, tuple[str, bytes]]:
    """Read the objects that are intact: in bulk, and one by one where the bulk fails."""
    waiting = [list(ids)]
    found: dict[Oid, tuple[str, bytes]] = {}
    with Odb(git_dir) as odb:
        while waiting:
            some = waiting.pop()
            try:
                found.update(odb.read_typed(some))
            except CorruptSource:
                if len(some) > 1:
                    half = len(some) // 2
                    waiting += [some[:half], some[half:]]
    return found


def _reindexed(pack: Path, name: str) -> dict[Oid, tuple[str, bytes]]:
    """Read the objects of a pack whose index is lost, if the pack itself is sound."""
    with staging(name) as fresh:
        try:
            index_pack(fresh, pack.read_bytes())
        except PorterError:
            return {}
        indexes = (fresh / "objects" / "pack").glob("*.idx")
        return _readable(fresh, [row.oid for index in indexes for row in read_index(index)])


@dataclass(frozen=True)
class Repair:
    """How many objects were dropped, which are still lost, and why no source served them."""

    dropped: int
    lost: tuple[Oid, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class StoreAudit:
    """One upstream's stored objects. ``paths`` are the files of blobs that the pin's listing names;
    ``repair`` is None where nothing was repaired."""

    name: str
    stored: bool
    objects: int = 0
    damage: tuple[Damage, ...] = ()
    paths: Mapping[Oid, str] = field(default_factory=dict)
    repair: Repair | None = None

    @property
    def is_broken(self) -> bool:
        """Whether an object is damaged and was not replaced."""
        return bool(self.damage) and (self.repair is None or bool(self.repair.lost))


def audit_store(root: Path, pins: Pins, names: Iterable[str], *, repair: bool) -> list[StoreAudit]:
    """Hash every object of the named upstreams (none named: of all in the store)."""
    chosen = list(names) or sorted(path.stem for path in store_dir().glob("*.git"))
    return [_audit_one(root, pins.pins.get(name), name, repair) for name in chosen]


def _audit_one(root: Path, pin: Pin | None, name: str, repair: bool) -> StoreAudit:
    git_dir = repository(name)
    if not git_dir.is_dir():
        return StoreAudit(name, stored=False)
    found = audit(git_dir)
    done = None
    if found.damage and repair:
        with upstream_lock(name):
            done = _repair(root, pin, git_dir, found)
    listing = (read_listing(root, pin) if pin else None) or {}
    paths = {entry.oid: os.fsdecode(path) for path, entry in listing.items()}
    return StoreAudit(name, True, found.objects, found.damage, paths, done)


def _repair(root: Path, pin: Pin | None, git_dir: Path, found: Audit) -> Repair:
    lost = drop_damaged(git_dir, git_dir.stem, found.damage)
    with Odb(git_dir) as odb:
        reasons: list[str] = []
        if pin is not None:
            supply = Supply(root, pin, git_dir, odb)
            try:
                supply.bring_commit()
                wanted = {e.oid for e in odb.flat(pin.tree).values() if e.is_blob}
                reasons += map(str, supply.bring_blobs(lost & wanted))
            except PorterError as error:
                reasons.append(error.detail or str(error))
        still = lost - odb.has(lost)
    return Repair(len(lost), tuple(sorted(still)), tuple(reasons))
