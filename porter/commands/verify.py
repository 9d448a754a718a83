"""Run the recipes: which of upstream's results each level keeps.

Each recipe's probe runs in its own process: level 0 in float64 (the reference), level 0 in every
dtype (whose error is the allowance), and every level in every dtype. Unchanged runs are taken from
the cache. Without PORT all ports with recipes are verified, and recipes whose files no source
serves are listed as not reachable; each recipe that passes takes one line, unless --recipe chooses
some or --all shows every output. With --pin OLD,NEW the recipes of one PORT run in two states of
it, and every level's results are compared between them: what a move of the pin changed. With --tree
the recipes of one PORT judge a tree that somebody else made, and none of its levels.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_cluster,
    add_flag,
    add_format,
    add_judged_as,
    add_level_option,
    add_ports,
    add_recipes,
    add_repeated,
    add_run_options,
    add_verbose,
    expect_one_port,
    positive,
    project_folder,
    run_options,
    the_ports,
)
from porter.errors import BadInput, Exit

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from pathlib import Path

    from porter.verify.execution.session import Session
    from porter.verify.judge.result import RecipeResult
    from porter.verify.plan.select import Filters, Plan

EXAMPLES = (
    (
        "porter verify --tag smoke --timings timings.json",
        "the small recipes of every port, or of a tree's; and where the time went",
    ),
    (
        "porter verify v-diffusion --recipe 'forward*' --level minimal",
        "some recipes of one port, on one level",
    ),
    (
        "porter verify v-diffusion --pin HEAD~1,now",
        "after the pin moved: upstream against upstream, level against level",
    ),
    (
        "porter verify v-diffusion --tree ../fork --device sim:hpu --output verify.xml",
        "judge somebody's port of the same upstream on one device; write JUnit too",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports to verify (default: all)")
    add_recipes(parser)
    add_level_option(parser, "judge only this level", repeated=True)
    add_repeated(parser, "--device", "DEVICE", "judge only on this device, which must be available")
    add_flag(parser, "--strict", "fail when something is not reachable")
    add_flag(parser, "--all", "show every output, not only the worst of many")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads of each run (default: the recipe's)"
    )
    parser.add_argument(
        "--pin",
        metavar="OLD,NEW",
        help="compare two states of PORT, each `now`, a git revision of this project or a folder",
    )
    parser.add_argument(
        "--tree",
        metavar="TREE",
        help="judge this tree: a folder, FOLDER@REV, or a git revision here",
    )
    add_judged_as(parser, "--tree")
    parser.add_argument(
        "--timings",
        metavar="FILE",
        help="print where the time went; write every part of it to FILE as a Chrome trace",
    )
    add_verbose(parser)
    add_run_options(parser)
    add_cluster(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.verify.execution.timings import Timings, timed
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import make_plan

    if args.timings is not None:
        _expect_alone(args)
    root, filters, ports = project_folder(args), _filters(args), the_ports(args)
    if args.pin is not None:
        return _compare_pins(args, root, ports, filters)
    if args.tree is not None:
        return _judge_tree(args, root, ports, filters)
    if args.judged_as is not None:
        raise BadInput(f"--as {args.judged_as}: expected --tree TREE beside it, found none")
    timings = None if args.timings is None else Timings()
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress, timed(timings, "planning"):
            plan = make_plan(root, ports, trees, filters)
        from rich.console import Console

        from porter.report.terminal.verify import Causes, print_result
        from porter.verify.execute import execute
        from porter.verify.known_wrong import read_measured, with_known_wrong

        console = Console(highlight=False)
        measured = {name: read_measured(root, name) for name in _ports_of(plan)}
        brief = not (ports or args.recipe or args.all)
        results, causes = [], Causes()
        with shown_session(trees, run_options(args, timings), args.cluster) as (session, display):
            for judged in execute(plan, session):
                result = with_known_wrong(judged, measured[judged.port])
                results.append(result)
                if args.format == "text":
                    display.clear()
                    print_result(console, result, args.all, brief, causes=causes)
            why = _why_no_sandbox(session, results)
            capacity = session.options.capacity()
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.verify import print_summary, print_unreachable, render

    strict = args.strict or bool(ports)
    lacking = [one for one in plan.unreachable if strict or one.fault]
    passed = all(result.passed for result in results) and not lacking

    prefix = folder_in_repository(root)

    def rendered(form: str) -> str:
        return render(plan, results, form, passed, strict, prefix, why=why)

    write_files(args.output, rendered)
    if args.format == "text":
        print_unreachable(console, plan.unreachable, args.verbose)
        print_summary(console, results, plan.unreachable)
    else:
        print(rendered(args.format))
    if timings is not None:
        from porter.atomic import write_atomic
        from porter.report.terminal.timings import print_timings

        write_atomic(Path(args.timings), timings.chrome_trace().encode())
        if args.format == "text":
            print_timings(console, timings, capacity)
    return Exit.OK if passed else Exit.FAILED


def _ports_of(plan: Plan) -> list[str]:
    return list(dict.fromkeys(one.loaded.port for one in plan.recipes))


def _expect_alone(args: argparse.Namespace) -> None:
    """Refuse --timings where it measures nothing, and a FILE that cannot be written."""
    from pathlib import Path

    for option in ("pin", "tree", "cluster"):
        if getattr(args, option) is not None:
            raise BadInput(f"--timings {args.timings}: expected no --{option} beside it")
    if not Path(args.timings).absolute().parent.is_dir():
        raise BadInput(f"--timings {args.timings}: expected a file in a folder that is there")


def _why_no_sandbox(session: Session, results: list[RecipeResult]) -> str:
    """Return why runs are made in no sandbox, "" where each has one."""
    from porter.report.ci.verify import sandboxes
    from porter.verify.execution.sandbox import NONE

    return session.sandbox.why if NONE in sandboxes(results) else ""


def _filters(args: argparse.Namespace) -> Filters:
    from porter.verify.plan.select import Filters

    return Filters(
        recipes=tuple(args.recipe),
        levels=tuple(args.level),
        tags=tuple(args.tag),
        devices=tuple(args.device),
        threads=args.threads,
    )


def _compare_pins(args: argparse.Namespace, root: Path, ports: list[str], filters: Filters) -> int:
    """Compare two states of a port; exit code 1 when a level differs otherwise than upstream."""
    from rich.console import Console

    from porter.report.ci.write import as_json
    from porter.report.terminal.pins import print_changes, print_states, print_summary
    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.report.terminal.verify import print_unreachable
    from porter.verify.pins.compare import compare_states
    from porter.verify.pins.plan import BothTrees, plan_pins
    from porter.verify.pins.result import all_passed, pins_to_json
    from porter.verify.pins.states import open_states, two_states

    names = two_states(args.pin)
    expect_one_port("--pin", args.pin, ports)
    if args.tree is not None or args.judged_as is not None:
        raise BadInput(f"--pin {args.pin}: expected neither --tree nor --as beside it")
    if args.format not in ("text", "json") or args.output:
        raise BadInput("--pin prints text or --json; leave out --output and other forms")
    with open_states(root, *names) as (old, new):
        with transfer_bar() as bar:
            old.trees.progress = new.trees.progress = bar
            plan = plan_pins(ports[0], old, new, filters)
        console, is_text = Console(highlight=False), args.format == "text"
        if is_text:
            print_states(console, plan, old, new)
        results = []
        trees = BothTrees(new.trees, old.trees)
        with shown_session(trees, run_options(args), args.cluster) as (session, display):
            for result in compare_states(plan, session, names):
                results.append(result)
                if is_text:
                    display.clear()
                    print_changes(console, result, args.all)
        passed = all_passed(plan, results)
        if is_text:
            print_unreachable(console, plan.unreachable, args.verbose)
            print_summary(console, plan, results)
        else:
            print(as_json(pins_to_json(plan, old, new, results, passed)))
    return Exit.OK if passed else Exit.FAILED


def _judge_tree(args: argparse.Namespace, root: Path, ports: list[str], filters: Filters) -> int:
    """Judge a foreign tree by the recipes of a port."""
    from pathlib import Path

    from rich.console import Console

    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.foreign import plain_tree, print_tree
    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.report.terminal.verify import (
        Causes,
        print_result,
        print_summary,
        print_unreachable,
        render,
    )
    from porter.verify.execute import execute
    from porter.verify.foreign.files import open_files
    from porter.verify.foreign.plan import plan_foreign, told
    from porter.verify.foreign.trees import ForeignTrees
    from porter.verify.known_wrong import read_measured, with_known_wrong
    from porter.verify.plan.port_trees import open_trees

    expect_one_port("--tree", args.tree, ports)
    if args.level:
        found = f"--level {args.level[0]}"
        raise BadInput(
            f"--tree {args.tree}: expected --as LEVEL or nothing beside it, found {found}"
        )
    console, is_text = Console(highlight=False), args.format == "text"
    files = open_files(args.tree, Path(args.dir or "."))
    with open_trees(root) as own:
        trees = ForeignTrees(own, ports[0], files)
        with transfer_bar() as own.progress:
            planned = plan_foreign(root, trees, filters, args.judged_as)
        if is_text:
            print_tree(console, planned, trees)
        results, causes, measured = [], Causes(), read_measured(root, ports[0])
        with shown_session(trees, run_options(args), args.cluster) as (session, display):
            for judged in told(execute(planned.plan, session), trees):
                result = with_known_wrong(judged, measured)
                results.append(result)
                if is_text:
                    display.clear()
                    ours = args.judged_as is not None
                    print_result(console, result, args.all, kinds=ours, causes=causes)
            why = _why_no_sandbox(session, results)
        more = {"tree": plain_tree(planned, trees)}
    plan = planned.plan
    passed = all(result.passed for result in results) and not plan.unreachable
    prefix = folder_in_repository(root)

    def rendered(form: str) -> str:
        return render(plan, results, form, passed, True, prefix, more, why)

    write_files(args.output, rendered)
    if is_text:
        print_unreachable(console, plan.unreachable, args.verbose)
        print_summary(console, results, plan.unreachable)
    else:
        print(rendered(args.format))
    return Exit.OK if passed else Exit.FAILED
