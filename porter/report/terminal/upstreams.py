"""Upstreams on the terminal and as JSON: what ``fetch`` brought, what ``store verify`` found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from porter.errors import SourceUnavailable
from porter.report.terminal.progress import size_text
from porter.terminal import listed
from porter.upstream.failure import short_reason

if TYPE_CHECKING:
    from porter.upstream.audit import StoreAudit
    from porter.upstream.pins import Pins
    from porter.upstream.store import FileCoverage
    from porter.verify.audit import CacheAudit


def fetch_lines(
    results: Mapping[str, FileCoverage | SourceUnavailable], verbose: bool
) -> Iterator[str]:
    """Yield a line per upstream, what no source served, and the sum of bytes."""
    width = max(map(len, results))
    total = 0
    for name, result in results.items():
        if isinstance(result, SourceUnavailable):
            word = "not reachable" if result.away else "no source could be used"
            yield f"{name:<{width}}  {word}: {result.reason}"
            if verbose:
                yield from (f"    {line}" for line in result.detail.splitlines())
            continue
        total += result.bytes_received
        count = f"{result.covered} of {result.wanted} wanted files"
        sources = ", ".join(
            "git" if source.startswith("git ") else source for source in result.source.split(", ")
        )
        yield f"{name:<{width}}  {count:<26}  {size_text(result.bytes_received):>8}  {sources}"
        if result.missing:
            yield f"    not covered: {_top_folders(result.missing)}"
            if why := short_reason(result.reasons):
                yield f"    {why}"
            if verbose:
                yield from (f"    {failure}" for failure in result.reasons)
    yield f"{size_text(total)} received"


def _top_folders(paths: Iterable[bytes]) -> str:
    """Return paths as their top folders with counts: hundreds of paths do not fit."""
    counts = Counter("".join(os.fsdecode(path).partition("/")[:2]) for path in paths)
    names = [f"{top} ({n} files)" if n > 1 else top for top, n in counts.items()]
    return listed(names)


def fetch_json(
    pins: Pins, results: Mapping[str, FileCoverage | SourceUnavailable]
) -> dict[str, Any]:
    """Return what came of a fetch as plain values."""
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        pin = pins.pins[name]
        row: dict[str, Any] = {"name": name, "commit": pin.commit, "tree": pin.tree}
        if isinstance(result, SourceUnavailable):
            row |= {"reachable": False, "reason": result.reason}
            row |= {"error": result.detail or str(result)}
        else:
            row |= {
                "reachable": True,
                "wanted": result.wanted,
                "covered": result.covered,
                "sources": result.source.split(", "),
                "bytes_received": result.bytes_received,
                "missing": [os.fsdecode(path) for path in result.missing],
                "reasons": [str(failure) for failure in result.reasons],
            }
        rows.append(row)
    total = sum(row.get("bytes_received", 0) for row in rows)
    return {"upstreams": rows, "bytes_received": total}


def audit_json(found: Sequence[StoreAudit], others: Sequence[CacheAudit] = ()) -> dict[str, Any]:
    """Return what ``porter store verify`` found and repaired as plain values."""
    cache = [
        {
            "what": one.what,
            "count": one.count,
            "damaged": [{"path": str(path), "problem": problem} for path, problem in one.damaged],
            "repairs": list(one.repairs),
        }
        for one in others
    ]
    return {"upstreams": [_audit_row(one) for one in found], "cache": cache}


def _audit_row(one: StoreAudit) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": one.name,
        "stored": one.stored,
        "objects": one.objects,
        "damaged": [
            {
                "file": str(damage.file),
                "object": damage.oid,
                "path": one.paths.get(damage.oid) if damage.oid else None,
                "problem": damage.problem,
            }
            for damage in one.damage
        ],
    }
    if one.repair is not None:
        row["repair"] = {
            "dropped": one.repair.dropped,
            "lost": len(one.repair.lost),
            "ids": list(one.repair.lost),
            "reasons": list(one.repair.reasons),
        }
    return row


def audit_lines(found: Sequence[StoreAudit], others: Sequence[CacheAudit] = ()) -> Iterator[str]:
    """Yield a line per upstream and kind of cached thing, with its damage and what was repaired."""
    for one in found:
        if not one.stored:
            yield f"{one.name}: not in the store"
            continue
        count = len(one.damage)
        yield f"{one.name}: {one.objects} objects, {count or 'none'} damaged"
        for damage in one.damage:
            what = f"object {damage.oid}" if damage.oid else "the pack"
            path = one.paths.get(damage.oid) if damage.oid else None
            shown = f" ({path})" if path else ""
            yield f"    {what}{shown} in {damage.file}: {damage.problem}"
        if repair := one.repair:
            yield f"    repaired: {repair.dropped - len(repair.lost)} fetched again"
            for oid in repair.lost:
                yield f"    lost: {oid}; `porter apply` makes objects of levels again"
            yield from (f"    {reason}" for reason in repair.reasons)
        elif count:
            yield "    `porter store verify --repair` drops damaged objects and fetches them again"
    if not found:
        yield "the store is empty"
    for other in others:
        if other.count or other.damaged:
            yield f"{other.what}: {other.count}, {len(other.damaged) or 'none'} damaged"
        for file, problem in other.damaged:
            yield f"    {file}: {problem}"
        yield from (f"    {line}" for line in other.repairs)
        if other.is_broken:
            yield "    `porter store verify --repair` deletes what is damaged"
