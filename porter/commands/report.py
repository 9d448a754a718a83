"""Write the results of stored runs as one HTML file; nothing is run.

The file is self-contained: the matrix of verdicts, errors and allowances, counters across levels,
images, why graphs were compiled, and the levels' diffs. ``--format markdown`` prints the tables of
counters for documentation, ``--format json`` everything for programs.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_ports,
    add_recipes,
    add_repeated,
    project_folder,
    the_ports,
)

EXAMPLES = (
    ("porter report", "write porter-report.html from the stored runs of every port"),
    ("porter report v-diffusion -o v.html --tag smoke", "one port, only recipes with one tag"),
    ("porter report --format markdown", "print the tables of counters"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports (default: all with recipes)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output file (default: porter-report.html; for other forms standard output)",
    )
    parser.add_argument("--format", choices=("html", "markdown", "json"), default="html")
    add_repeated(
        parser,
        "--verdicts",
        "FILE",
        "also verdicts that `porter verify --output FILE.json` wrote, for runs not stored here",
    )
    add_recipes(parser)


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from porter.places import cache_dir
    from porter.report.ci.write import as_json, write_text
    from porter.report.html_report.forms import as_markdown, as_plain
    from porter.report.html_report.gather import gather, read_imported
    from porter.report.html_report.page import as_html
    from porter.terminal import emit
    from porter.verify.plan.select import Filters

    filters = Filters(recipes=tuple(args.recipe), tags=tuple(args.tag))
    imported = read_imported(Path(name) for name in args.verdicts)
    results = gather(project_folder(args), cache_dir(), the_ports(args), filters, imported)
    if args.format == "json":
        text = as_json(as_plain(results))
    else:
        text = as_html(results) if args.format == "html" else as_markdown(results)
    if args.output is None and args.format != "html":
        emit([text])
        return 0
    path = Path(args.output or "porter-report.html")
    write_text(path, text)
    size = len(text.encode()) / 1024
    print(f"{path}: {sum(1 for _ in results.cells())} cells, {size:,.0f} KiB", file=sys.stderr)
    return 0
