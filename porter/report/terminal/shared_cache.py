"""The shared cache on the terminal and as JSON: what it holds, what was exchanged or deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from porter.report.terminal.progress import size_text
from porter.terminal import counted

if TYPE_CHECKING:
    from porter.verify.cache.sync import Held, Sent, Stats

_DONE = {"push": "written", "pull": "brought"}
_ONE = {"traces": "trace", "verdicts": "verdict file", "objects": "object"}


def stats_lines(stats: Stats) -> Iterator[str]:
    """Yield a line for the local and one for the shared cache."""
    yield f"here: {_held(stats.here)}"
    if not stats.url:
        yield "PORTER_REMOTE_CACHE names no shared cache"
        return
    use = "read and written" if stats.is_writable else "read only"
    yield f"{stats.url} ({use}): {_held(stats.there)}"


def _held(rows: Sequence[Held]) -> str:
    return ", ".join(f"{counted(r.count, _ONE[r.what])} ({size_text(r.size)})" for r in rows)


def stats_json(stats: Stats) -> dict[str, Any]:
    """Return what both caches hold as plain values; ``shared`` is null where none is named."""
    mode = "read-write" if stats.is_writable else "read"
    shared = {"url": stats.url, "mode": mode, "held": _rows(stats.there)}
    return {"local": _rows(stats.here), "shared": shared if stats.url else None}


def sent_lines(sent: Sent, action: str) -> Iterator[str]:
    """Yield how much was exchanged, and what was refused."""
    for kind, count in sent.moved.items():
        what = counted(count, _ONE[kind])
        yield f"{what} {_DONE[action]}, {sent.present[kind]:,} there already"
    yield from (f"refused: {line}" for line in sent.unsound)


def sent_json(sent: Sent) -> dict[str, Any]:
    """Return what was exchanged as plain values."""
    return {"moved": sent.moved, "present": sent.present, "refused": list(sent.unsound)}


def pruned_lines(held: Sequence[Held], dry_run: bool) -> Iterator[str]:
    """Yield what was deleted."""
    yield f"{_held(held)} {'would be deleted' if dry_run else 'deleted'}"


def pruned_json(held: Sequence[Held], dry_run: bool) -> dict[str, Any]:
    """Return what was deleted as plain values."""
    return {"dry_run": dry_run, "deleted": _rows(held)}


def _rows(held: Sequence[Held]) -> list[dict[str, Any]]:
    return [{"what": row.what, "count": row.count, "size": row.size} for row in held]
