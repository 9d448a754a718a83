"""Show what this machine has: git, Python, torch, devices, disk, which sources answer, and which
ports can be checked and verified with that.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_json, add_verbose
from porter.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offline", action="store_true", help="contact no source")
    parser.add_argument(
        "--deep", action="store_true", help="ask torch for devices too (takes seconds)"
    )
    add_verbose(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit 1 when something that porter needs is missing."""
    from porter.places import project_root
    from porter.report.terminal.doctor import doctor_json, doctor_lines
    from porter.terminal import emit, emit_json
    from porter.upstream.doctor import ask_sources, examine
    from porter.upstream.pins import load_pins
    from porter.upstream.store import offline_asked
    from porter.verify.plan.reachable import reach_of_ports, what_would_help

    root = project_root()
    pins = load_pins(root)
    offline = args.offline or offline_asked()
    answers = ask_sources(pins, offline=offline)
    findings = examine(root, pins, answers, offline=offline, deep=args.deep)
    reaches = reach_of_ports(root, pins, answers, offline=offline)
    helps = what_would_help(pins, reaches, answers)
    if args.json:
        emit_json(doctor_json(findings, reaches, helps))
    else:
        emit(doctor_lines(findings, reaches, helps, args.verbose))
    failed = any(finding.ok is False for finding in findings)
    return Exit.FAILED if failed else Exit.OK
