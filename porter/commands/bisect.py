"""Find the first level that broke a claim: a binary search over the levels of a recipe.

It starts from the last level (or --level), which must fail, and ends between two neighbours, of
which one holds and the other does not. Runs that were made before are taken from the cache.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from porter.commands.options import add_json, add_run_options, run_options
from porter.errors import BadInput, CheckFailed, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from porter.verify.bisect import Border
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT")
    parser.add_argument("--recipe", required=True, metavar="NAME", help="the recipe that fails")
    parser.add_argument("--device", metavar="DEVICE", help="on this device only")
    parser.add_argument(
        "--level", metavar="LEVEL", help="a level that fails (default: the last one judged)"
    )
    parser.add_argument(
        "--output",
        default="*",
        metavar="NAME",
        help="follow only outputs or counters of this name (a pattern)",
    )
    add_run_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from porter.places import cache_dir, project_root
    from porter.report.terminal.progress import RunningDisplay
    from porter.verify.bisect import bad_on, find_border, judge_level, spoken_of
    from porter.verify.cache.store import Places
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.execution.session import Session
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root = project_root()
    filters = Filters((args.recipe,), devices=(args.device,) if args.device else ())
    console = Console(highlight=False, quiet=args.json)
    with open_trees(root) as trees:
        plan = make_plan(root, (args.port,), trees, filters)
        if plan.unreachable:
            raise BadInput(f"{args.port}: not reachable: {plan.unreachable[0].reason}")
        if len(plan.recipes) > 1:
            names = ", ".join(one.loaded.name for one in plan.recipes)
            raise BadInput(f"--recipe {args.recipe}: expected one recipe, found {names}")
        planned = plan.recipes[0]
        start = _start(planned, trees.find(args.port, args.level).number if args.level else None)
        with RunningDisplay(Console(stderr=True, highlight=False)) as observer:
            session = Session(trees, Places.under(cache_dir()), observer, run_options(args))
            with open_runs(session) as runs:

                def hears(level: int, holds: bool) -> None:
                    observer.clear()
                    name = planned.levels[level].name
                    console.print(f"level {level} {name}: {'holds' if holds else 'fails'}")

                judged = judge_level(planned, runs)
                verdicts = judged(start)
                bad = bad_on(verdicts, start, args.output)
                if not bad:
                    observer.clear()
                    return _nothing_bad(planned, start, verdicts, args.json)
                hears(start, False)
                border = find_border(spoken_of(planned, bad), bad, judged, hears)
    if args.json:
        import json

        print(json.dumps(_plain(planned, border, root), indent=2))
    else:
        _print(console, planned, border, root)
    return Exit.FAILED


def _start(planned: RecipePlan, asked: int | None) -> int:
    start = max(planned.chosen) if asked is None else asked
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
        print(f"level {start} {name} keeps every claim: nothing to look for")
        print("name a level that does not with --level")
    return Exit.OK


def _patch(planned: RecipePlan, level: int, root: Path) -> tuple[str, str]:
    """The patch that leads to a level, relative to the project, and its subject."""
    from porter.series.series import load_series

    patches = load_series(root, planned.loaded.port).patches
    if not 0 < level <= len(patches):
        return "", ""
    patch = patches[level - 1]
    return str(patch.path.relative_to(root)), patch.header.subject


def _compare(planned: RecipePlan, border: Border) -> str:
    """The command that finds where in the model the border's level departs."""
    if border.last_good is None or not any(
        v.word == "fail" and v.subject == "outputs" for v in border.verdicts
    ):
        return ""
    loaded, device = planned.loaded, border.verdicts[0].device
    good, bad = (planned.levels[n].name for n in (border.last_good, border.first_bad))
    return f"porter compare {loaded.port} {good} {bad} --recipe {loaded.name} --device {device}"


def _print(console: Console, planned: RecipePlan, border: Border, root: Path) -> None:
    from rich.text import Text

    from porter.report.terminal.verify import fault

    first, good = planned.levels[border.first_bad], border.last_good
    console.print()
    if good is None:
        told = "the lowest level that the claim speaks of: it fails from the start"
    else:
        told = f"breaks it; level {good} {planned.levels[good].name} holds"
    console.print(Text(f"level {first.number} {first.name}", "bold") + Text(f" {told}"))
    path, subject = _patch(planned, first.number, root)
    if path:
        console.print(Text(f"{path}: {subject}"), soft_wrap=True)
    for verdict in border.verdicts:
        console.print(Text("  ") + fault(verdict), soft_wrap=True)
    if command := _compare(planned, border):
        console.print(Text(f"    narrow it down: {command}", "dim"), soft_wrap=True)


def _plain(planned: RecipePlan, border: Border, root: Path) -> dict[str, Any]:
    from porter.verify.judge.result import verdict_to_json

    path, subject = _patch(planned, border.first_bad, root)
    return {
        "border": {
            "last_good": border.last_good,
            "first_bad": border.first_bad,
            "level_name": planned.levels[border.first_bad].name,
            "patch": path or None,
            "subject": subject or None,
            "verdicts": [verdict_to_json(verdict) for verdict in border.verdicts],
            "narrow": _compare(planned, border) or None,
        }
    }
