"""Verify the cache: read and hash everything that is stored.

That is every object of the upstreams and, unless some are named, snapshots of levels, environments,
traces, verdicts, memos of levels and the log that `porter undo` walks along.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_flag, add_json, add_ports, project_pins, the_ports
from porter.errors import Exit

EXAMPLES = (
    ("porter store verify", "read and hash everything that is stored"),
    ("porter store verify v-diffusion --repair", "fetch again what is damaged of one upstream"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["verify"], help="verify: find objects that changed")
    add_ports(parser, "upstreams to verify (default: all in the store)")
    add_flag(parser, "--repair", "delete what is damaged; fetch objects again")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Verify; exit 1 when something is damaged and was not repaired."""
    from porter.report.terminal.upstreams import audit_json, audit_lines
    from porter.terminal import emit, emit_json
    from porter.upstream.audit import audit_store
    from porter.verify.audit import audit_cache

    pins, names = project_pins(args), the_ports(args)
    for name in names:
        pins.port(name)
    found = audit_store(pins.root, pins, names, repair=args.repair)
    others = [] if names else list(audit_cache(repair=args.repair))
    if args.json:
        emit_json(audit_json(found, others))
    else:
        emit(audit_lines(found, others))
    broken = [*(one.is_broken for one in found), *(one.is_broken for one in others)]
    return Exit.FAILED if any(broken) else Exit.OK
