"""Audit the stored upstreams, and fetch damaged objects again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.errors import PorterError
from porter.git.objects import Oid
from porter.git.odb import Odb
from porter.upstream.audit import Audit, Damage, audit, drop_damaged
from porter.upstream.pins import Pin, Pins, read_listing
from porter.upstream.sources import Supply
from porter.upstream.store import repository, store_dir, upstream_lock


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
    return StoreAudit(name, True, found.objects, found.damage, _paths(root, pin), done)


def _paths(root: Path, pin: Pin | None) -> dict[Oid, str]:
    listing = read_listing(root, pin) if pin else None
    return {entry.oid: os.fsdecode(path) for path, entry in (listing or {}).items()}


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
