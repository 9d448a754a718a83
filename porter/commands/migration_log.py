"""Write the migration logs: which CUDA calls a port makes at each level, and what served them.

They come from the runs of every recipe with `migration_log: true` on the simulated devices sim:hpu
and sim:npu, and go to migration_logs/PORT/LEVEL.DEVICE.txt. With --check nothing is written:
differences are printed as a diff.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_cluster,
    add_flag,
    add_ports,
    add_repeated,
    add_run_options,
    project_folder,
    run_options,
    the_ports,
)
from porter.errors import Exit

EXAMPLES = (
    ("porter migration-log", "run what logs CUDA calls, and write the logs of every port"),
    ("porter migration-log v-diffusion --check", "write nothing; print what would change"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports (default: all with such recipes)")
    add_flag(parser, "--check", "write nothing; fail if a file would change")
    add_repeated(parser, "--device", None, "only this device", ("sim:hpu", "sim:npu"))
    add_run_options(parser)
    add_cluster(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.progress import shown_session, transfer_bar
    from porter.terminal import counted
    from porter.verify import migration_logs
    from porter.verify.execution.scheduler import open_runs
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.select import Filters, make_plan

    root = project_folder(args)
    devices = args.device or list(migration_logs.LOGGED)
    with open_trees(root) as trees:
        with transfer_bar() as trees.progress:
            plan = make_plan(root, the_ports(args), trees, Filters())
        recipes = migration_logs.logged_recipes(plan, devices)
        with (
            shown_session(trees, run_options(args), args.cluster) as (session, _),
            open_runs(session) as runs,
        ):
            logs = migration_logs.make_logs(recipes, devices, runs)
    for one in plan.unreachable:
        print(f"{one.port}{'/' if one.recipe else ''}{one.recipe}: not reachable: {one.reason}")
    if not args.check:
        for path in migration_logs.write_logs(root, logs, devices):
            print(path)
        return Exit.OK
    lines = migration_logs.differences(root, logs, devices)
    if lines:
        print("\n".join(lines))
        return Exit.FAILED
    print(f"{counted(len(logs), 'migration log')} unchanged")
    return Exit.OK
