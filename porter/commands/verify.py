"""Run the recipes: what every level keeps of upstream's results.

Each recipe's probe runs in its own process: level 0 in float64 (the reference), level 0 in every
dtype (whose error is the allowance), and every level in every dtype. What was run before and has
not changed is taken from the cache. Without PORT all ports with recipes are verified, and what no
source here covers is listed as not reachable; a recipe that passes is then a line, unless --recipe
chooses some or --all asks for every output.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_format,
    add_run_options,
    add_verbose,
    positive,
    run_options,
)
from porter.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", nargs="*", metavar="PORT", help="ports to verify (default: all)")
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="NAME",
        help="only recipes of this name (a pattern; may be given again)",
    )
    parser.add_argument(
        "--level",
        action="append",
        default=[],
        metavar="LEVEL",
        help="judge only this level: number, name or unique prefix (may be given again)",
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="DEVICE",
        help="judge only on this device, which must be there (may be given again)",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only recipes with this tag (a pattern; may be given again)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail when something is not reachable"
    )
    parser.add_argument(
        "--all", action="store_true", help="show every output, not the worst of many"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of every run (default: as its recipe says)",
    )
    add_verbose(parser)
    add_run_options(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.places import cache_dir, project_root
    from porter.report.terminal.transfers import transfer_bar
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root = project_root()
    filters = Filters(
        recipes=tuple(args.recipe),
        levels=tuple(args.level),
        tags=tuple(args.tag),
        devices=tuple(args.device),
        threads=args.threads,
    )
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            plan = make_plan(root, args.ports, trees, filters)
        strict = args.strict or bool(args.ports)
        brief = not (args.ports or args.recipe or args.all)
        from rich.console import Console

        from porter.report.terminal.progress import RunningDisplay
        from porter.report.terminal.verify import print_result, print_summary, print_unreachable
        from porter.verify.cache.store import Places
        from porter.verify.execute import execute
        from porter.verify.execution.session import Session

        console = Console(highlight=False)
        with RunningDisplay(Console(stderr=True, highlight=False)) as observer:
            session = Session(trees, Places.under(cache_dir()), observer, run_options(args))
            results = []
            for result in execute(plan, session):
                results.append(result)
                if args.format == "text":
                    observer.clear()
                    print_result(console, result, args.all, brief)
    lacking = [one for one in plan.unreachable if strict or one.fault]
    passed = all(result.passed for result in results) and not lacking
    from porter.report.ci.write import place_in_repository, write_files
    from porter.report.terminal.verify import render

    def rendered(form: str) -> str:
        return render(plan, results, form, passed, strict, place_in_repository(root))

    write_files(args.output, rendered)
    if args.format == "text":
        print_unreachable(console, plan.unreachable, args.verbose)
        print_summary(console, results, plan.unreachable)
    else:
        print(rendered(args.format))
    return Exit.OK if passed else Exit.FAILED
