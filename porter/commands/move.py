"""Move a level to another place in the series; the levels between and above are replayed.

In a tree of the port a conflict is resolved as in `git cherry-pick`. Without a tree a move that
conflicts changes nothing."""

from __future__ import annotations

import argparse

from porter.commands.options import (
    LEVEL_TEXT,
    add_conflict_options,
    add_flag,
    add_json,
    add_tree_or_port,
    changed_place,
    needed,
    resumed,
)
from porter.errors import BadInput

EXAMPLES = (
    ("porter move report --first", "in a tree: level report becomes level 1"),
    ("porter move 5 --before 2 --port v-diffusion", "without a tree, by number"),
    ("porter move --continue", "after a conflict is resolved and `git add`ed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", nargs="?", metavar="LEVEL", help=LEVEL_TEXT)
    parser.add_argument("--before", metavar="OTHER", help="to just below level OTHER")
    parser.add_argument("--after", metavar="OTHER", help="to just above level OTHER")
    add_flag(parser, "--first", "to the first place")
    add_flag(parser, "--last", "to the last place (of the levels that are on, if it is on)")
    add_tree_or_port(parser)
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if (code := resumed(args)) is not None:
        return code
    needed(args, ("level", "LEVEL"))
    from porter.editing.reshape import move_level
    from porter.report.terminal.editing import report_change

    given = [where for where in ("before", "after", "first", "last") if getattr(args, where)]
    if len(given) != 1:
        found = " and ".join(f"--{where}" for where in given) or "none"
        raise BadInput(
            "move: expected one of --before OTHER, --after OTHER, --first and --last,"
            f" found {found}"
        )
    where = given[0]
    other = getattr(args, where) if where in ("before", "after") else ""
    with changed_place(args, args.level, f"--{where}", other) as place:
        done = move_level(place, args.level, where, other)  # type: ignore[arg-type]
    return report_change(place.held, done, as_json=args.json)
