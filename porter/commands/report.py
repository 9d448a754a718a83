"""Write the results of stored runs as one HTML file, or a folder of them; nothing is run.

A file is self-contained: the matrix of verdicts, errors and allowances, counters across levels,
images, why graphs were compiled, and the levels' diffs. ``--format markdown`` prints the tables of
counters for documentation, ``--format json`` everything for programs.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_judged_as,
    add_ports,
    add_recipes,
    add_repeated,
    expect_one_port,
    project_folder,
    the_ports,
)
from porter.errors import BadInput

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from pathlib import Path

    from porter.report.html_report.foreign import ForeignColumn
    from porter.report.html_report.gather import ImportedVerdicts
    from porter.verify.plan.select import Filters

EXAMPLES = (
    ("porter report", "write porter-report.html from the stored runs of every port"),
    ("porter report v-diffusion -o v.html --tag smoke", "one port, only recipes with one tag"),
    ("porter report -o pages/", "many ports: an index, and a page of each in a file of its own"),
    (
        "porter report v-diffusion --tree ../fork",
        "with a column for somebody's port that `porter verify --tree` has judged",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports (default: all with recipes)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output file (default: porter-report.html; for other forms standard output); "
        "FOLDER/, for HTML: an index and a page of each port",
    )
    parser.add_argument("--format", choices=("html", "markdown", "json"), default="html")
    add_repeated(
        parser,
        "--verdicts",
        "FILE",
        "also verdicts that `porter verify --output FILE.json` wrote, for runs not stored here",
    )
    add_recipes(parser)
    parser.add_argument(
        "--tree",
        metavar="TREE",
        help="a column for this tree beside the levels of PORT: a folder, FOLDER@REV, or a git "
        "revision here",
    )
    add_judged_as(parser, "--tree")


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from porter.places import cache_dir
    from porter.report.ci.write import as_json, write_text
    from porter.report.html_report.forms import as_markdown, as_plain
    from porter.report.html_report.gather import gather, read_imported
    from porter.report.html_report.page import INDEX, as_html, as_pages
    from porter.terminal import counted, emit
    from porter.verify.plan.select import Filters

    output = args.output or ("porter-report.html" if args.format == "html" else None)
    folder = Path(output) if output and (output.endswith("/") or Path(output).is_dir()) else None
    if folder is not None and args.format != "html":
        raise BadInput(f"-o {output}: expected a file for {args.format}, found a folder")
    filters = Filters(recipes=tuple(args.recipe), tags=tuple(args.tag))
    imported = read_imported(Path(name) for name in args.verdicts)
    root, ports = project_folder(args), the_ports(args)
    foreign = _foreign(args, root, ports, filters)
    _expect_no_other_tree(imported, foreign)
    results = gather(root, cache_dir(), ports, filters, imported, foreign)
    cells = sum(1 for _ in results.cells())
    if folder is not None:
        pages = as_pages(results)
        for name, page in pages.items():
            write_text(folder / name, page)
        size = sum((folder / name).stat().st_size for name in pages) / 1024
        said = f"{counted(len(results.ports), 'port')}, {cells} cells, {size:,.0f} KiB"
        print(f"{folder / INDEX}: {said} in {len(pages)} files", file=sys.stderr)
        return 0
    if args.format == "json":
        text = as_json(as_plain(results))
    else:
        text = as_html(results) if args.format == "html" else as_markdown(results)
    if output is None:
        emit([text])
        return 0
    path = Path(output)
    write_text(path, text)
    size = path.stat().st_size / 1024
    print(f"{path}: {cells} cells, {size:,.0f} KiB", file=sys.stderr)
    return 0


def _foreign(
    args: argparse.Namespace, root: Path, ports: list[str], filters: Filters
) -> ForeignColumn | None:
    """Judge the stored runs on the tree of ``--tree``; None without the option."""
    if args.tree is None:
        if args.judged_as is not None:
            raise BadInput(f"--as {args.judged_as}: expected --tree TREE beside it, found none")
        return None
    expect_one_port("--tree", args.tree, ports)
    from pathlib import Path

    from porter.places import cache_dir
    from porter.report.html_report.foreign import judge_foreign
    from porter.report.terminal.progress import transfer_bar
    from porter.verify.cache.store import Places
    from porter.verify.foreign.files import open_files
    from porter.verify.foreign.plan import plan_foreign
    from porter.verify.foreign.trees import ForeignTrees
    from porter.verify.plan.port_trees import open_trees

    files = open_files(args.tree, Path(args.dir or "."))
    with open_trees(root) as own:
        trees = ForeignTrees(own, ports[0], files)
        with transfer_bar() as own.progress:
            planned = plan_foreign(root, trees, filters, args.judged_as)
        return judge_foreign(Places.under(cache_dir()), planned, trees)


def _expect_no_other_tree(imported: ImportedVerdicts, foreign: ForeignColumn | None) -> None:
    """Refuse imported verdicts on a tree that has no column."""
    for port, _, tree in imported:
        if tree and (foreign is None or foreign.tree != tree):
            found = f"found git tree {tree[:12]}"
            there = f"git tree {foreign.tree[:12]}" if foreign else f"the levels of {port}"
            raise BadInput(
                f"--verdicts: expected verdicts on {there}, {found}; --tree TREE gives it a column"
            )
