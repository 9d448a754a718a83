"""Run the recipes: which of upstream's results each level keeps.

Each recipe's probe runs in its own process: level 0 in float64 (the reference), level 0 in every
dtype (whose error is the allowance), and every level in every dtype. Unchanged runs are taken from
the cache. Without PORT all ports with recipes are verified, and recipes whose files no source
serves are listed as not reachable; each recipe that passes takes one line, unless --recipe chooses
some or --all shows every output.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_flag,
    add_format,
    add_level_option,
    add_ports,
    add_recipes,
    add_repeated,
    add_run_options,
    add_verbose,
    positive,
    project_folder,
    run_options,
    the_ports,
)
from porter.errors import Exit

EXAMPLES = (
    ("porter verify --tag smoke", "the small recipes of every port; in a tree, of its port"),
    (
        "porter verify v-diffusion --recipe 'forward*' --level minimal",
        "some recipes of one port, on one level",
    ),
    (
        "porter verify --device sim:hpu --strict --output verify.xml",
        "one device; fail on what is not reachable; write JUnit too",
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
    add_verbose(parser)
    add_run_options(parser)
    add_format(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root, ports = project_folder(args), the_ports(args)
    filters = Filters(
        recipes=tuple(args.recipe),
        levels=tuple(args.level),
        tags=tuple(args.tag),
        devices=tuple(args.device),
        threads=args.threads,
    )
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            plan = make_plan(root, ports, trees, filters)
        from rich.console import Console

        from porter.report.terminal.verify import print_result
        from porter.verify.execute import execute

        console = Console(highlight=False)
        brief = not (ports or args.recipe or args.all)
        results = []
        with shown_session(trees, run_options(args)) as (session, display):
            for result in execute(plan, session):
                results.append(result)
                if args.format == "text":
                    display.clear()
                    print_result(console, result, args.all, brief)
    from porter.report.ci.write import folder_in_repository, write_files
    from porter.report.terminal.verify import print_summary, print_unreachable, render

    strict = args.strict or bool(ports)
    lacking = [one for one in plan.unreachable if strict or one.fault]
    passed = all(result.passed for result in results) and not lacking

    prefix = folder_in_repository(root)
    write_files(args.output, lambda form: render(plan, results, form, passed, strict, prefix))
    if args.format == "text":
        print_unreachable(console, plan.unreachable, args.verbose)
        print_summary(console, results, plan.unreachable)
    else:
        print(render(plan, results, args.format, passed, strict, prefix))
    return Exit.OK if passed else Exit.FAILED
