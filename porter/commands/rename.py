"""Give a level another name: in its patch, the file's name, series and lock, and in what names it.

Recipes, lists of mutants and migration logs follow; other text that still names the level is
listed. Works in a tree of the port, and without one."""

from __future__ import annotations

import argparse

from porter.commands.options import LEVEL_TEXT, add_json, add_tree_or_port, changed_place

EXAMPLES = (
    ("porter rename fp32-bmm fp32-attention", "in a tree: give level fp32-bmm another name"),
    ("porter rename 7 fp32-attention --port diffusers", "the same without a tree"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", metavar="LEVEL", help=LEVEL_TEXT)
    parser.add_argument("new", metavar="NEW", help="the new name")
    add_tree_or_port(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.reshape import rename_level
    from porter.report.terminal.editing import report_change

    with changed_place(args, args.level, args.new) as place:
        done = rename_level(place, args.level, args.new)
    return report_change(place.held, done, as_json=args.json)
