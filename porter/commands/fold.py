"""Make one level of two: a level's changes go into the level below it, or into another lower one.

The lower level keeps its name and subject; the devices of both are joined, and what both say under
why, Keeps, Gains, Origin and Forwarded. What named the upper level now names the lower one."""

from __future__ import annotations

import argparse

from porter.commands.options import (
    LEVEL_TEXT,
    add_conflict_options,
    add_json,
    add_tree_or_port,
    changed_place,
    needed,
    resumed,
)

EXAMPLES = (
    ("porter fold report", "in a tree: fold level report into the level below it"),
    ("porter fold report --into minimal --port v-diffusion", "into another, without a tree"),
    ("porter fold --continue", "after a conflict is resolved and `git add`ed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", nargs="?", metavar="LEVEL", help=LEVEL_TEXT)
    text = "the lower level (default: the one just below LEVEL)"
    parser.add_argument("--into", metavar="OTHER", help=text)
    add_tree_or_port(parser)
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if (code := resumed(args)) is not None:
        return code
    needed(args, ("level", "LEVEL"))
    from porter.editing.reshape import fold_level
    from porter.report.terminal.editing import report_change

    words = ("--into", args.into) if args.into else ()
    with changed_place(args, args.level, *words) as place:
        done = fold_level(place, args.level, args.into)
    return report_change(place.held, done, as_json=args.json)
