"""Find the first level that broke a claim, by a binary search over the levels of a recipe.

The search starts from the last level (or --level), which must fail, and ends between two
neighbouring levels, of which one holds and the other does not. With --between A B the commits of a
repository take the place of levels: A holds, B fails, and the first commit that fails is named, as
by git bisect. Earlier runs are taken from the cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.commands.options import (
    add_json,
    add_judged_as,
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
    from porter.verify.history import FirstBad, Tried
    from porter.verify.judge.result import Verdict
    from porter.verify.plan.matrix import RecipePlan
    from porter.verify.plan.select import Filters, Plan


EXAMPLES = (
    (
        "porter bisect v-diffusion --recipe graphs",
        "find the level that broke a claim of the recipe graphs",
    ),
    (
        "porter bisect --recipe forward --device sim:hpu --level 5",
        "in a tree: of its port, on one device, from level 5 down",
    ),
    (
        "porter bisect v-diffusion --recipe sampling --between ../fork@v1 ../fork@main",
        "find the commit of somebody's port that broke a claim",
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
    parser.add_argument(
        "--between",
        nargs=2,
        metavar=("A", "B"),
        help="search the commits of a foreign tree from A, which holds, to B, which fails: each "
        "FOLDER@REV, or a git revision here",
    )
    add_judged_as(parser, "--between")
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
    if args.between is not None:
        return _search_history(args, root, port, filters)
    if args.judged_as is not None:
        raise BadInput(f"--as {args.judged_as}: expected --between A B beside it, found none")
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


def _search_history(args: argparse.Namespace, root: Path, port: str, filters: Filters) -> int:
    """Find the first commit of a foreign tree's history at which the recipe's claim fails."""
    from rich.console import Console

    from porter.report.terminal.progress import shown_session
    from porter.terminal import emit_json
    from porter.verify.bisect import bad_on, followed
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.history import HistoryJudge, Tried, find_first_bad, open_history
    from porter.verify.plan.port_trees import open_trees

    between = " ".join(args.between)
    if args.level:
        raise BadInput(f"--between {between}: expected no --level beside it, found {args.level}")
    good, bad_text = args.between
    history = open_history(good, bad_text, Path(args.dir or "."))
    console = Console(highlight=False, quiet=args.json)
    with (
        open_trees(root) as own,
        shown_session(own, run_options(args)) as (session, display),
        open_runs(session) as runs,
    ):
        judge = HistoryJudge(root, own, port, history, filters, args.judged_as, runs)

        def report(tried: Tried) -> None:
            display.clear()
            console.print(_tried_line(tried), soft_wrap=True, markup=False)

        verdicts = judge.verdicts(history.bad)
        bad = bad_on(verdicts, verdicts[0].level, args.output) if verdicts else []
        if not bad:
            display.clear()
            if args.json:
                emit_json({"border": None})
            else:
                print(f"{history.bad.short} keeps every claim: there is nothing to search")
            return Exit.OK
        follow = {followed(verdict): verdict for verdict in bad}
        last = Tried(history.bad, "bad", tuple(bad))
        report(last)
        first = judge.tried(history.good, follow)
        report(first)
        if first.state != "good":
            why = "one that fails too" if first.state == "bad" else f"one to skip: {first.why}"
            raise BadInput(
                f"--between {between}: expected {args.between[0]} to keep the claim, found {why}"
            )
        found = find_first_bad(history, last, lambda one: judge.tried(one, follow), report)
    if args.json:
        emit_json(_first_bad_json(found))
    else:
        _print_first_bad(console, found)
    return Exit.FAILED


def _tried_line(tried: Tried) -> str:
    words = {"good": "holds", "bad": "fails", "skipped": f"skipped: {tried.why}"}[tried.state]
    return f"{tried.commit.short} {tried.commit.subject}: {words}"


def _print_first_bad(console: Console, found: FirstBad) -> None:
    """Print the first bad commit, or those it is among, with the verdicts and the next command."""
    from rich.text import Text

    from porter.report.ci.verify import by_cause
    from porter.report.terminal.verify import fault

    commit = found.bad.commit
    console.print()
    if found.between:
        count = len(found.between) + 1
        console.print(Text(f"the first commit that fails is one of {count}:", "bold"))
        for tried in found.between:
            console.print(Text(f"  {_tried_line(tried)}"), soft_wrap=True)
        console.print(Text(f"  {commit.short} {commit.subject}: fails"), soft_wrap=True)
    else:
        head = Text(f"{commit.short} {commit.subject}", "bold")
        console.print(head + Text(" is the first commit that fails"), soft_wrap=True)
    for verdict, *_ in by_cause(found.bad.verdicts):
        console.print(Text("  ") + fault(verdict), soft_wrap=True)
        for frame in verdict.frames.splitlines():
            console.print(Text("    at ") + Text(frame, "bold"), soft_wrap=True)
    if narrow := next((v.narrow for v in found.bad.verdicts if v.narrow), ""):
        console.print(Text(f"    narrow it down: {narrow}", "dim"), soft_wrap=True)


def _first_bad_json(found: FirstBad) -> dict[str, Any]:
    """Return the same as plain values; ``first_bad`` is null where commits were skipped."""
    from porter.verify.judge.result import verdict_to_json

    bad = found.bad
    return {
        "border": {
            "first_bad": None if found.between else bad.commit.oid,
            "candidates": [bad.commit.oid, *(one.commit.oid for one in found.between)],
            "subject": bad.commit.subject,
            "skipped": [{"commit": one.commit.oid, "why": one.why} for one in found.between],
            "verdicts": [verdict_to_json(verdict) for verdict in bad.verdicts],
            "narrow": next((v.narrow for v in bad.verdicts if v.narrow), None),
        }
    }
