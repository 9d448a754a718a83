"""Verify the stored objects: read and hash every one of them."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from porter.errors import Exit, PorterError

if TYPE_CHECKING:
    from pathlib import Path

    from porter.git.objects import Oid
    from porter.upstream.audit import Audit, Damage
    from porter.upstream.pins import Pin, Pins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["verify"], help="verify: find objects that changed")
    parser.add_argument("port", nargs="*", help="which upstreams (default: all in the store)")
    parser.add_argument(
        "--repair", action="store_true", help="drop damaged objects and fetch them anew"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Verify; exit 1 when an object is damaged and was not mended."""
    from porter.places import project_root
    from porter.upstream.audit import audit
    from porter.upstream.pins import load_pins
    from porter.upstream.store import repository, store_dir, upstream_lock

    root = project_root()
    pins = load_pins(root)
    for name in args.port:
        pins.port(name)
    names = args.port or sorted(path.stem for path in store_dir().glob("*.git"))
    rows: list[dict[str, Any]] = []
    for name in names:
        if not repository(name).is_dir():
            rows.append({"name": name, "stored": False, "objects": 0, "damaged": []})
            continue
        found = audit(repository(name))
        row = _row(root, pins, name, found)
        if found.damage and args.repair:
            with upstream_lock(name):
                row["repair"] = _repair(root, pins.pins.get(name), repository(name), found)
        rows.append(row)
    broken = any(row["damaged"] and row.get("repair", {}).get("lost", 1) for row in rows)
    _print(rows, args.json)
    return Exit.FAILED if broken else Exit.OK


def _row(root: Path, pins: Pins, name: str, found: Audit) -> dict[str, Any]:
    paths = _paths(root, pins.pins.get(name))
    return {
        "name": name,
        "stored": True,
        "objects": found.objects,
        "damaged": [_damage_row(damage, paths) for damage in found.damage],
    }


def _damage_row(damage: Damage, paths: dict[Oid, str]) -> dict[str, Any]:
    return {
        "file": str(damage.file),
        "object": damage.oid,
        "path": paths.get(damage.oid) if damage.oid else None,
        "problem": damage.problem,
    }


def _paths(root: Path, pin: Pin | None) -> dict[Oid, str]:
    """Blob id -> path, where the pin's own files tell."""
    from porter.upstream.pins import read_listing

    listing = read_listing(root, pin) if pin else None
    return {entry.oid: os.fsdecode(path) for path, entry in (listing or {}).items()}


def _repair(root: Path, pin: Pin | None, git_dir: Path, found: Audit) -> dict[str, Any]:
    from porter.git.odb import Odb
    from porter.upstream.audit import repair
    from porter.upstream.sources import Supply

    lost = repair(git_dir, git_dir.stem, found.damage)
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
    return {"dropped": len(lost), "lost": len(still), "ids": sorted(still), "reasons": reasons}


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps({"upstreams": rows}, indent=2))
        return
    for row in rows:
        if not row["stored"]:
            print(f"{row['name']}: not in the store")
            continue
        count = len(row["damaged"])
        print(f"{row['name']}: {row['objects']} objects, {count or 'none'} damaged")
        for damage in row["damaged"]:
            what = f"object {damage['object']}" if damage["object"] else "the pack"
            path = f" ({damage['path']})" if damage["path"] else ""
            print(f"    {what}{path} in {damage['file']}: {damage['problem']}")
        if repair := row.get("repair"):
            print(f"    repaired: {repair['dropped'] - repair['lost']} brought anew")
            for oid in repair["ids"]:
                print(f"    lost: {oid}; an object of a level comes back with `porter apply`")
            for reason in repair["reasons"]:
                print(f"    {reason}")
        elif count:
            print("    `porter store verify --repair` drops what is damaged and fetches it anew")
    if not rows:
        print("the store is empty")
