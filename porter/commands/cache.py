"""Exchange traces and verdicts with the cache that machines share.

PORTER_REMOTE_CACHE is the URL of its folder. `porter verify` reads it where the local cache lacks
something, and writes what it makes. These commands count what is there, write or bring everything,
and delete what is old.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_json, add_ports, positive, the_ports
from porter.errors import BadInput, Exit

EXAMPLES = (
    ("porter cache stats", "what the local and the shared cache hold"),
    ("porter cache push v-diffusion", "share what was made of one port without it"),
    ("porter cache prune --days 30 --dry-run", "what a month's limit would delete"),
)
_DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["stats", "push", "pull", "prune"],
        help="stats: count; push: write what is lacking there; pull: bring what is lacking here; "
        "prune: delete old entries there, and objects that no entry names",
    )
    add_ports(parser, "ports to exchange (default: all)")
    parser.add_argument(
        "--days",
        type=positive,
        metavar="N",
        help=f"prune: delete what was written more than N days ago (default: {_DAYS})",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="prune: only show what would be deleted"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Do one of the four; exit 1 when something was refused, or the shared cache fails."""
    from porter.places import cache_dir
    from porter.report.terminal import shared_cache as shown
    from porter.terminal import emit, emit_json
    from porter.verify.cache import sync
    from porter.verify.cache.store import Places

    if args.action != "prune" and (args.days is not None or args.dry_run):
        raise BadInput(f"{args.action}: expected --days and --dry-run with prune alone")
    places, ports = Places.under(cache_dir()), the_ports(args)
    if args.action == "prune":
        if args.ports:
            raise BadInput(f"prune: expected no PORT, found {args.ports[0]}")
        shared = sync.named_cache(writing=True)
        held = sync.prune(shared, args.days or _DAYS, dry_run=args.dry_run)
        value, lines = shown.pruned_json(held, args.dry_run), shown.pruned_lines(held, args.dry_run)
        failed = False
    elif args.action == "stats":
        both = sync.stats(places, ports)
        value, lines, failed = shown.stats_json(both), shown.stats_lines(both), False
    else:
        pushing = args.action == "push"
        shared = sync.named_cache(writing=pushing)
        sent = (sync.push if pushing else sync.pull)(shared, places, ports)
        value, lines = shown.sent_json(sent), shown.sent_lines(sent, args.action)
        failed = bool(sent.unsound)
    if args.json:
        emit_json(value)
    else:
        emit(lines)
    return Exit.FAILED if failed else Exit.OK
