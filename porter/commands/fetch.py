"""Fetch pinned upstreams, with the upstreams that their trees need, into the store.

Only the pinned commit is fetched, without history, and of its files only the wanted ones. With
--from they, and the wheels of probe environments, come from a file that `porter bundle` wrote.
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
from porter.errors import BadInput, Exit, SourceUnavailable

if TYPE_CHECKING:
    from porter.upstream.pins import Pin, Pins
    from porter.upstream.store import FileCoverage


EXAMPLES = (
    ("porter fetch", "fetch every pinned upstream; in a tree, those of its port"),
    ("porter fetch v-diffusion --path diffusion/", "only the files below one folder"),
    ("porter fetch --offline", "what the store has already"),
    (
        "porter fetch --from cards.bundle --project ports",
        "take a bundle in; its pins, series and recipes become a new project",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "upstreams to fetch (default: every pin)")
    add_repeated(parser, "--path", "PATH", "only files under PATH")
    add_flag(parser, "--offline", "show what the store has already")
    parser.add_argument("--from", dest="bundle", metavar="FILE", help="take in this bundle")
    parser.add_argument(
        "--project", metavar="DIR", help="with --from: write the bundle's project into a new folder"
    )
    add_flag(parser, "--strict", "exit 1 when no source serves a wanted file")
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch; exit 1 when an upstream gets no file at all (with --strict: not every wanted one)."""
    from porter.report.terminal.progress import transfer_bar
    from porter.report.terminal.upstreams import fetch_json, fetch_lines
    from porter.terminal import emit, emit_json
    from porter.upstream.store import fetch

    if args.bundle is not None or args.project is not None:
        return _take(args)
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


def _take(args: argparse.Namespace) -> int:
    """Take a bundle in; exit 1 when some upstream of it was not taken."""
    from pathlib import Path

    from porter.bundle.take import take_bundle
    from porter.report.terminal.bundle import taken_json, taken_lines
    from porter.terminal import emit, emit_json

    if args.bundle is None:
        raise BadInput(f"--project {args.project}: expected --from FILE beside it, found none")
    if args.ports or args.path or args.offline:
        raise BadInput("--from takes a whole bundle in; leave out PORT, --path and --offline")
    new = None if args.project is None else Path(args.project).absolute()
    root = project_pins(args).root if new is None else None
    taken = take_bundle(Path(args.bundle).absolute(), root, new)
    if args.json:
        emit_json(taken_json(taken))
    else:
        emit(taken_lines(taken))
    return Exit.FAILED if taken.refused else Exit.OK


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
