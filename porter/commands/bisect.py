"""Find the first level that broke a claim, by a binary search over the levels of a recipe.

The search starts from the last level (or --level), which must fail, and ends between two
neighbouring levels, of which one holds and the other does not. Earlier runs are taken from the
cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.commands.options import (
    add_json,
    add_level_option,
    add_port,
    add_run_options,
    project_folder,
    run_options,
    the_port,
)
from porter.errors import BadInput, CheckFailed, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from porter.verify.bisect import Border
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.plan.select import Plan


EXAMPLES = (
    (
        "porter bisect v-diffusion --recipe graphs",
        "find the level that broke a claim of the recipe graphs",
    ),
    (
        "porter bisect --recipe forward --device sim:hpu --level 5",
        "in a tree: of its port, on one device, from level 5 down",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="the recipe that fails")
    parser.add_argument("--device", metavar="DEVICE", help="judge only on this device")
    add_level_option(parser, "a level that fails; default: the last one judged")
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

    from porter.report.terminal.progress import shown_session
    from porter.terminal import emit_json
    from porter.verify.bisect import bad_on, covered_levels, find_border, judge_level
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root, port = project_folder(args), the_port(args)
    filters = Filters((args.recipe,), devices=(args.device,) if args.device else ())
    console = Console(highlight=False, quiet=args.json)
    with open_trees(root) as trees:
        planned = _only_recipe(make_plan(root, (port,), trees, filters), args)
        start = _start(planned, trees.find(port, args.level).number if args.level else None)
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
        emit_json(_border_json(planned, border, root))
    else:
        _print_border(console, planned, border, root)
    return Exit.FAILED


def _only_recipe(plan: Plan, args: argparse.Namespace) -> RecipePlan:
    if plan.unreachable:
        raise BadInput(f"{plan.unreachable[0].port}: not reachable: {plan.unreachable[0].reason}")
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


def _print_border(console: Console, planned: RecipePlan, border: Border, root: Path) -> None:
    """Print the level that broke the claim, its patch and verdicts, and the next command."""
    from rich.text import Text

    from porter.report.terminal.verify import fault

    first, good = planned.levels[border.first_bad], border.last_good
    console.print()
    if good is None:
        text = "the lowest level that the claim is about: it fails from the start"
    else:
        text = f"breaks it; level {good} {planned.levels[good].name} holds"
    console.print(Text(f"level {first.number} {first.name}", "bold") + Text(f" {text}"))
    path, subject = _patch(planned, first.number, root)
    if path:
        console.print(Text(f"{path}: {subject}"), soft_wrap=True)
    for verdict in border.verdicts:
        console.print(Text("  ") + fault(verdict), soft_wrap=True)
    if command := _compare_command(planned, border):
        console.print(Text(f"    narrow it down: {command}", "dim"), soft_wrap=True)


def _border_json(planned: RecipePlan, border: Border, root: Path) -> dict[str, Any]:
    """Return the same as plain values."""
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
            "narrow": _compare_command(planned, border) or None,
        }
    }


def _patch(planned: RecipePlan, level: int, root: Path) -> tuple[str, str]:
    """Return the patch that leads to a level, relative to the project, and its subject."""
    from porter.series.series import load_series

    patches = load_series(root, planned.loaded.port).patches
    if not 0 < level <= len(patches):
        return "", ""
    patch = patches[level - 1]
    return str(patch.path.relative_to(root)), patch.header.subject


def _compare_command(planned: RecipePlan, border: Border) -> str:
    """Return the command that finds where in the model the first bad level diverges."""
    if border.last_good is None or not any(
        v.word == "fail" and v.subject == "outputs" for v in border.verdicts
    ):
        return ""
    loaded, device = planned.loaded, border.verdicts[0].device
    good, bad = (planned.levels[n].name for n in (border.last_good, border.first_bad))
    return f"porter compare {loaded.port} {good} {bad} --recipe {loaded.name} --device {device}"
