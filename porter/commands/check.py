"""Rebuild every level and compare with levels.lock; companion ports are checked too.

Exit code 1 on any difference. Every failing hunk of every patch is shown: the lines it expects, the
lines that stand there, and where they moved to.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", nargs="*", metavar="PORT", help="ports to check (default: all)")
    parser.add_argument("--no-memo", action="store_true", help="apply every patch again")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.check import check_port, ports_to_check
    from porter.places import project_root
    from porter.report.check import print_report, render
    from porter.report.findings import place_in_repository, write_files
    from porter.upstream.pins import load_pins

    root = project_root()
    pins = load_pins(root)
    reports = []
    for pin in ports_to_check(pins, args.ports):
        report = check_port(root, pins, pin, memo=not args.no_memo)
        reports.append(report)
        if args.format == "text":
            print_report(report)
    place = place_in_repository(root)
    write_files(args.output, lambda form: render(reports, form, place))
    if args.format != "text":
        print(render(reports, args.format, place))
    codes = [report.error.code for report in reports if report.error is not None]
    return max([Exit.OK if r.ok else Exit.FAILED for r in reports] + codes, default=Exit.OK)
