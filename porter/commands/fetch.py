"""Bring pinned upstreams, with what they need beside them, into the store.

Only the pinned commit comes, without history, and of its files only the wanted ones.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from porter.commands.options import add_json, add_verbose
from porter.errors import Exit, SourceUnavailable

if TYPE_CHECKING:
    from porter.upstream.pins import Pin, Pins
    from porter.upstream.store import Coverage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", nargs="*", help="which ones (default: every pin)")
    parser.add_argument(
        "--path", action="append", metavar="PATH", help="only files under PATH (repeatable)"
    )
    parser.add_argument("--offline", action="store_true", help="say what the store has already")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 when a wanted file is not covered"
    )
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch; exit 1 when an upstream gets no file at all (or, --strict, not every wanted one)."""
    from porter.places import project_root
    from porter.report.terminal.transfers import transfer_bar
    from porter.upstream.pins import load_pins
    from porter.upstream.store import fetch

    root = project_root()
    pins = load_pins(root)
    results: dict[str, Coverage | SourceUnavailable] = {}
    with transfer_bar() as progress:
        for pin in _chosen(pins, args.port):
            try:
                results[pin.name] = fetch(
                    root, pin, args.path, offline=args.offline, progress=progress
                )
            except SourceUnavailable as error:
                results[pin.name] = error
    if args.json:
        _print_json(pins, results)
    else:
        _print_lines(results, args.verbose)
    failed = any(
        isinstance(result, SourceUnavailable) or (result.wanted and not result.covered)
        for result in results.values()
    )
    lacking = any(getattr(result, "missing", ()) for result in results.values())
    return Exit.FAILED if failed or (args.strict and lacking) else Exit.OK


def _chosen(pins: Pins, names: Iterable[str]) -> list[Pin]:
    """The named pins and those that their trees need; all of them when none is named."""
    waiting = [pins.port(name) for name in names] or list(pins.pins.values())
    chosen: dict[str, Pin] = {}
    while waiting:
        pin = waiting.pop(0)
        if pin.name not in chosen:
            chosen[pin.name] = pin
            waiting += pins.beside(pin)
    return list(chosen.values())


def _print_lines(results: dict[str, Coverage | SourceUnavailable], verbose: bool) -> None:
    from porter.report.terminal.transfers import size_text
    from porter.upstream.failure import short_reason

    width = max(map(len, results))
    total = 0
    for name, result in results.items():
        if isinstance(result, SourceUnavailable):
            word = "not reachable" if result.away else "no source could be used"
            print(f"{name:<{width}}  {word}: {result.reason}")
            for line in result.detail.splitlines() if verbose else ():
                print(f"    {line}")
            continue
        total += result.bytes_received
        count = f"{result.covered} of {result.wanted} wanted files"
        sources = ", ".join(
            "git" if source.startswith("git ") else source for source in result.source.split(", ")
        )
        print(f"{name:<{width}}  {count:<26}  {size_text(result.bytes_received):>8}  {sources}")
        if result.missing:
            why = short_reason(result.reasons)
            print(f"    not covered: {_summary(result.missing)}")
            if why:
                print(f"    {why}")
            for failure in result.reasons if verbose else ():
                print(f"    {failure}")
    print(f"{size_text(total)} received")


def _summary(paths: Iterable[bytes]) -> str:
    """Paths as their top folders with counts, which fits where hundreds of paths do not."""
    counts: dict[str, int] = {}
    for path in paths:
        top, slash, _ = os.fsdecode(path).partition("/")
        counts[top + slash] = counts.get(top + slash, 0) + 1
    names = [f"{top} ({n} files)" if n > 1 else top for top, n in counts.items()]
    more = f", and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def _print_json(pins: Pins, results: dict[str, Coverage | SourceUnavailable]) -> None:
    import json

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
    print(json.dumps({"upstreams": rows, "bytes_received": total}, indent=2))
