"""Take levels out of the series; the levels above them are replayed.

What names a dropped level, such as a recipe, is listed. `porter undo` brings the levels back."""

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
    ("porter drop report", "in a tree: take level report out of the series"),
    ("porter drop 6 7 --port v-diffusion", "two levels, without a tree"),
    ("porter drop --abort", "give a drop that conflicts up: all is as before"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("levels", nargs="*", metavar="LEVEL", help=LEVEL_TEXT)
    add_tree_or_port(parser)
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if (code := resumed(args)) is not None:
        return code
    needed(args, ("levels", "LEVEL"))
    from porter.editing.reshape import drop_levels
    from porter.report.terminal.editing import report_change

    with changed_place(args, *args.levels) as place:
        done = drop_levels(place, args.levels)
    return report_change(place.held, done, as_json=args.json)
