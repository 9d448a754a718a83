"""Check a level of a port out into a folder: a git work tree whose `git log` shows the levels.

Companion ports (accelerate for diffusers) are checked out beside it. An existing tree of the port
is moved to the level, if one is named."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import add_flag, add_keep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT")
    parser.add_argument(
        "dir", nargs="?", type=Path, metavar="DIR", help="a new folder (default: trees/PORT)"
    )
    parser.add_argument(
        "--level", "-l", metavar="N|NAME", help="number, name or prefix (default: the last)"
    )
    add_flag(parser, "--alone", "without the companion ports")
    add_keep(parser)


def run(args: argparse.Namespace) -> int:
    from porter.places import project_root
    from porter.report.terminal.progress import transfer_bar
    from porter.report.terminal.tree import applied_lines
    from porter.terminal import emit
    from porter.tree.apply import apply_port

    with transfer_bar() as progress:
        done = apply_port(
            project_root(),
            args.port,
            args.dir,
            level=args.level,
            companions=not args.alone,
            keep=args.keep,
            progress=progress,
        )
    for each in done:
        emit(applied_lines(each))
    return 0
