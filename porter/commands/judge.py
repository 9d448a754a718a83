"""Judge stored traces again without running anything: after a claim or a threshold changed.

TRACE is a trace's folder, a recipe's folder of traces, or any folder above them; PORT or
PORT/RECIPE means those in the cache. Traces are judged by the recipe in this project today, and
every verdict that differs from the recorded one is listed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import add_flag, add_format, add_tree_or_port, project_folder, the_port
from porter.errors import Exit

EXAMPLES = (
    (
        "porter judge v-diffusion/graphs",
        "judge the stored runs of a recipe by the recipe as it is now",
    ),
    (
        "porter judge v-diffusion --as-recorded --all",
        "by the claims stored with the runs; show every output",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "traces, or PORT[/RECIPE] (default: all of the tree's port)"
    parser.add_argument("traces", nargs="*", metavar="TRACE", help=text)
    add_tree_or_port(parser)
    add_flag(parser, "--as-recorded", "use the claims and thresholds recorded with the traces")
    add_flag(parser, "--all", "show every output, not only the worst of many")
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from porter.places import cache_dir, recipes_dir
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.verify import print_changes, print_result, print_summary, render
    from porter.verify.cache.store import Places
    from porter.verify.plan.select import Plan
    from porter.verify.rejudge import rejudge

    recipes = None if args.as_recorded else recipes_dir(project_folder(args), "x").parent
    texts = [*args.traces, *([args.port] if args.port else [])] or [the_port(args)]
    records = _records(texts, Places.under(cache_dir()).traces)
    judged = [rejudge(record, traces, recipes) for record, traces in records.items()]
    results = [one.result for one in judged]
    passed = all(result.passed for result in results)
    if args.format == "text":
        console = Console(highlight=False)
        for one in judged:
            print_result(console, one.result, every=args.all)
            print_changes(console, one.changes)
        print_summary(console, results, ())
    plan = Plan(tuple(one.planned for one in judged), ())
    prefix = "" if recipes is None else folder_in_repository(recipes.parent)
    write_files(args.output, lambda form: render(plan, results, form, passed, False, prefix))
    if args.format != "text":
        print(render(plan, results, args.format, passed, False, prefix))
    return Exit.OK if passed else Exit.FAILED


def _records(texts: list[str], stored: Path) -> dict[Path, set[str]]:
    """Return the records that the arguments mean, each with the traces named (none: all).

    An argument is a path, else PORT or PORT/RECIPE below the stored traces.
    """
    from porter.verify.rejudge import find_records

    records: dict[Path, set[str]] = {}
    for text in texts:
        path = Path(text)
        is_name = not path.is_absolute() and ".." not in path.parts
        folder = stored / text if is_name and not path.exists() else path
        folder = folder if folder.is_dir() else path
        for record, traces in find_records(folder).items():
            wanted = records.setdefault(record, traces)
            records[record] = wanted | traces if wanted and traces else set()
    return records
