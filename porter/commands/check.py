"""Rebuild every level and compare with levels.lock; companion ports are checked too.

Without PORT all ports are checked, and a port that no source serves is reported as not reachable:
only the ids that its patches state are compared with the lock. With PORT, or --strict, that fails
too. Exit code 1 on any difference. Every failing hunk is shown: the lines it expects, the lines
that are there, and where they moved to.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_flag,
    add_format,
    add_ports,
    add_verbose,
    project_pins,
    the_ports,
)

EXAMPLES = (
    ("porter check", "check every port of the project; in a tree, its port"),
    (
        "porter check v-diffusion --strict",
        "fail unless every file that the patches touch was checked",
    ),
    (
        "porter check --output check.sarif --output check.xml",
        "also write the result for code scanning and as JUnit",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports to check (default: all)")
    text = "fail unless the content of every file that a patch touches was checked"
    add_flag(parser, "--strict", text)
    add_flag(parser, "--no-memo", "apply every patch again")
    add_verbose(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.check import check_port, ports_to_check
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.check import CheckRequest, render, report_lines, summary
    from porter.terminal import colour_wanted

    pins, names = project_pins(args), the_ports(args)
    request = CheckRequest(strict=args.strict, named=bool(names))
    reports = []
    for pin in ports_to_check(pins, names):
        report = check_port(pins.root, pins, pin, memo=not args.no_memo)
        reports.append(report)
        if args.format == "text":
            print("\n".join(report_lines(report, colour_wanted(), args.verbose)))
    prefix = folder_in_repository(pins.root)
    write_files(args.output, lambda form: render(reports, form, prefix, request))
    if args.format != "text":
        print(render(reports, args.format, prefix, request))
    elif len(reports) > 1:
        print(summary(reports, request))
    codes = [report.error.code for report in reports if report.error is not None]
    failed = [Exit.FAILED for report in reports if not request.passes(report)]
    return max(failed + codes, default=Exit.OK)
