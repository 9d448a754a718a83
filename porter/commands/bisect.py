"""Find the first level that broke a claim, by a binary search over the levels of a recipe.

The search starts from the last level (or --level), which must fail, and ends between two
neighbouring levels, of which one holds and the other does not. Earlier runs are taken from the
cache.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.commands.options import add_json, add_run_options, run_options
from porter.errors import BadInput, CheckFailed, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.plan.select import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT")
    parser.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that fails")
    parser.add_argument("--device", metavar="DEVICE", help="judge only on this device")
    parser.add_argument(
        "--level", metavar="LEVEL", help="a level that fails (default: the last one judged)"
    )
    parser.add_argument(
        "--output",
        default="*",
        metavar="NAME",
        help="follow only outputs or counters whose name matches this pattern",
    )
    add_run_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from porter.places import project_root
    from porter.report.terminal.bisect import border_json, print_border
    from porter.report.terminal.progress import shown_session
    from porter.terminal import emit_json
    from porter.verify.bisect import bad_on, covered_levels, find_border, judge_level
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root = project_root()
    filters = Filters((args.recipe,), devices=(args.device,) if args.device else ())
    console = Console(highlight=False, quiet=args.json)
    with open_trees(root) as trees:
        planned = _only_recipe(make_plan(root, (args.port,), trees, filters), args)
        start = _start(planned, trees.find(args.port, args.level).number if args.level else None)
        with (
            shown_session(trees, run_options(args)) as (session, display),
            open_runs(session) as runs,
        ):

            def report(level: int, holds: bool) -> None:
                display.clear()
                name = planned.levels[level].name
                console.print(f"level {level} {name}: {'holds' if holds else 'fails'}")

            judged = judge_level(planned, runs)
            verdicts = judged(start)
            bad = bad_on(verdicts, start, args.output)
            if not bad:
                display.clear()
                return _nothing_bad(planned, start, verdicts, args.json)
            report(start, False)
            border = find_border(covered_levels(planned, bad), bad, judged, report)
    if args.json:
        emit_json(border_json(planned, border, root))
    else:
        print_border(console, planned, border, root)
    return Exit.FAILED


def _only_recipe(plan: Plan, args: argparse.Namespace) -> RecipePlan:
    if plan.unreachable:
        raise BadInput(f"{args.port}: not reachable: {plan.unreachable[0].reason}")
    if len(plan.recipes) > 1:
        names = ", ".join(one.loaded.name for one in plan.recipes)
        raise BadInput(f"--recipe {args.recipe}: expected one recipe, found {names}")
    return plan.recipes[0]


def _start(planned: RecipePlan, given: int | None) -> int:
    start = max(planned.chosen) if given is None else given
    if start not in planned.chosen:
        name = planned.levels[start].name
        raise BadInput(f"--level {name}: {planned.loaded.path} does not judge this level")
    return start


def _nothing_bad(
    planned: RecipePlan, start: int, verdicts: Sequence[Verdict], as_json: bool
) -> int:
    from porter.report.terminal.verify import where_words

    for verdict in verdicts:
        if verdict.bad and verdict.level != start:  # the reference, or the recipe itself
            raise CheckFailed(f"{where_words(verdict)}: {verdict.detail}")
    if as_json:
        print('{"border": null}')
    else:
        name = planned.levels[start].name
        print(f"level {start} {name} keeps every claim: there is nothing to search")
        print("name a level that fails with --level")
    return Exit.OK
