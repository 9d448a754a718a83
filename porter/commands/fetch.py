"""Fetch pinned upstreams, with the upstreams that their trees need, into the store.

Only the pinned commit is fetched, without history, and of its files only the wanted ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from porter.commands.options import (
    add_flag,
    add_json,
    add_ports,
    add_repeated,
    add_verbose,
    project_pins,
    the_ports,
)
from porter.errors import Exit, SourceUnavailable

if TYPE_CHECKING:
    from porter.upstream.pins import Pin, Pins
    from porter.upstream.store import FileCoverage


EXAMPLES = (
    ("porter fetch", "fetch every pinned upstream; in a tree, those of its port"),
    ("porter fetch v-diffusion --path diffusion/", "only the files below one folder"),
    ("porter fetch --offline", "what the store has already"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "upstreams to fetch (default: every pin)")
    add_repeated(parser, "--path", "PATH", "only files under PATH")
    add_flag(parser, "--offline", "show what the store has already")
    add_flag(parser, "--strict", "exit 1 when no source serves a wanted file")
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch; exit 1 when an upstream gets no file at all (with --strict: not every wanted one)."""
    from porter.report.terminal.progress import transfer_bar
    from porter.report.terminal.upstreams import fetch_json, fetch_lines
    from porter.terminal import emit, emit_json
    from porter.upstream.store import fetch

    pins, paths = project_pins(args), args.path or None
    results: dict[str, FileCoverage | SourceUnavailable] = {}
    with transfer_bar() as progress:
        for pin in _chosen(pins, the_ports(args)):
            try:
                found = fetch(pins.root, pin, paths, offline=args.offline, progress=progress)
                results[pin.name] = found
            except SourceUnavailable as error:
                results[pin.name] = error
    if args.json:
        emit_json(fetch_json(pins, results))
    else:
        emit(fetch_lines(results, args.verbose))
    failed = any(
        isinstance(result, SourceUnavailable) or (result.wanted and not result.covered)
        for result in results.values()
    )
    lacking = any(getattr(result, "missing", ()) for result in results.values())
    return Exit.FAILED if failed or (args.strict and lacking) else Exit.OK


def _chosen(pins: Pins, names: Iterable[str]) -> list[Pin]:
    """Return the named pins and those that their trees need; without a name all of them."""
    waiting = [pins.port(name) for name in names] or list(pins.pins.values())
    chosen: dict[str, Pin] = {}
    while waiting:
        pin = waiting.pop(0)
        if pin.name not in chosen:
            chosen[pin.name] = pin
            waiting += pins.beside(pin)
    return list(chosen.values())
