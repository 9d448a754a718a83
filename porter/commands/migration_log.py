"""Write the migration logs: which CUDA calls a port makes at every level, and what served them.

From the runs of every recipe with `migration_log: true` on the simulated devices sim:hpu and
sim:npu, into migration_logs/PORT/LEVEL.DEVICE.txt. With --check nothing is written: what differs is
printed as a diff.
"""

from __future__ import annotations

import argparse

from porter.commands.options import add_run_options, run_options
from porter.errors import Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ports", nargs="*", metavar="PORT", help="ports (default: all with such recipes)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file would change"
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        choices=("sim:hpu", "sim:npu"),
        help="only this device (may be given again)",
    )
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from porter.places import cache_dir, project_root
    from porter.report.terminal.progress import RunningDisplay
    from porter.report.terminal.transfers import transfer_bar
    from porter.terminal import counted
    from porter.verify import migration_logs
    from porter.verify.cache.store import Places
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.execution.session import Session
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root = project_root()
    devices = args.device or list(migration_logs.LOGGED)
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            plan = make_plan(root, args.ports, trees, Filters())
        recipes = migration_logs.logged_recipes(plan, devices)
        with RunningDisplay(Console(stderr=True, highlight=False)) as observer:
            session = Session(trees, Places.under(cache_dir()), observer, run_options(args))
            with open_runs(session) as runs:
                logs = migration_logs.make_logs(recipes, devices, runs)
    for one in plan.unreachable:
        print(f"{one.port}{'/' if one.recipe else ''}{one.recipe}: not reachable: {one.reason}")
    if not args.check:
        for path in migration_logs.write_logs(root, logs, devices):
            print(path.relative_to(root))
        return Exit.OK
    lines = migration_logs.differences(root, logs, devices)
    if lines:
        print("\n".join(lines))
        return Exit.FAILED
    print(f"{counted(len(logs), 'migration log')} unchanged")
    return Exit.OK
