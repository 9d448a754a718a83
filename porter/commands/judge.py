"""Judge stored traces again, without running anything: after a claim or a threshold changed.

TRACE is a trace's folder, a recipe's folder of traces, or any folder above them; PORT or
PORT/RECIPE means those in the cache. The recipe is the one in this project today. What comes out
otherwise than when the traces were made is listed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.commands.options import add_format
from porter.errors import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from porter.verify.rejudge import Change


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("traces", nargs="+", metavar="TRACE", help="traces, or PORT[/RECIPE]")
    parser.add_argument(
        "--as-recorded",
        action="store_true",
        help="by the claims and thresholds of the time when the traces were made",
    )
    parser.add_argument(
        "--all", action="store_true", help="show every output, not the worst of many"
    )
    add_format(parser)


def run(args: argparse.Namespace) -> int:

    from porter.places import cache_dir, project_root, recipes_dir
    from porter.report.ci.write import place_in_repository, write_files
    from porter.report.terminal.verify import render
    from porter.verify.cache.store import Places
    from porter.verify.plan.select import Plan
    from porter.verify.rejudge import find_records, rejudge

    stored = Places.under(cache_dir()).traces
    records: dict[Path, set[str]] = {}
    for text in args.traces:
        for record, traces in find_records(_folder(text, stored)).items():
            wanted = records.setdefault(record, traces)
            records[record] = wanted | traces if wanted and traces else set()
    recipes = None if args.as_recorded else recipes_dir(project_root(), "x").parent
    judged = [rejudge(record, traces, recipes) for record, traces in records.items()]
    results = [one.result for one in judged]
    passed = all(result.passed for result in results)
    if args.format == "text":
        from rich.console import Console

        from porter.report.terminal.verify import print_result, print_summary

        console = Console(highlight=False)
        for one in judged:
            print_result(console, one.result, every=args.all)
            _print_changes(console, one.changes)
        print_summary(console, results, ())
    plan = Plan(tuple(one.planned for one in judged), ())
    place = "" if recipes is None else place_in_repository(recipes.parent)

    def rendered(form: str) -> str:
        return render(plan, results, form, passed, False, place)

    write_files(args.output, rendered)
    if args.format != "text":
        print(rendered(args.format))
    return Exit.OK if passed else Exit.FAILED


def _folder(text: str, stored: Path) -> Path:
    """A path as it stands; else PORT or PORT/RECIPE among the stored traces."""
    from pathlib import Path

    path = Path(text)
    return path if path.exists() or not (stored / text).is_dir() else stored / text


def _print_changes(console: Console, changes: tuple[Change, ...]) -> None:
    from rich.text import Text

    from porter.report.terminal.verify import where_words

    if not changes:
        console.print(Text("  no verdict changed", "dim"))
    for change in changes:
        words = f"{change.before or 'not judged'} -> {change.now or 'not judged'}"
        line = Text("  changed: ", "yellow") + Text(f"{where_words(change.verdict)}: {words}")
        console.print(line, soft_wrap=True)
    console.print()
