"""Make two levels of one: the changes in some files become a level of their own, below the rest.

The new level's header is a copy with its own name; options replace parts of it. To split by hunks
see "Split a level" in docs/series.md."""

from __future__ import annotations

import argparse
import os

from porter.commands.options import (
    LEVEL_TEXT,
    add_flag,
    add_header_options,
    add_json,
    add_tree_or_port,
    changed_place,
    header_values,
)

EXAMPLES = (
    ("porter split minimal devices diffusion/", "in a tree: what is in a folder, as devices"),
    ("porter split 2 docs '*.md' --above --port v-diffusion", "as the upper level, without a tree"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", metavar="LEVEL", help=LEVEL_TEXT)
    parser.add_argument("new", metavar="NEW", help="the new level's name")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, folder or git pathspec")
    add_flag(parser, "--above", "put the new level above the rest, not below")
    add_tree_or_port(parser)
    add_header_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.reshape import split_level
    from porter.report.terminal.editing import report_change

    above = "--above" if args.above else ""
    with changed_place(args, args.level, args.new, *args.paths, above) as place:
        paths = args.paths
        if place.held is not None:
            here = os.path.relpath(os.path.realpath("."), place.held.tree.folder)
            inside = here != "." and not here.startswith("..")
            paths = [_from_top(here, path) for path in paths] if inside else paths
        values = header_values(args)
        done = split_level(place, args.level, args.new, paths, above=args.above, values=values)
    return report_change(place.held, done, as_json=args.json)


def _from_top(here: str, path: str) -> str:
    """Return a path of the folder ``here`` in the tree as one of the tree; magic stays as it is."""
    return path if path.startswith(":") else os.path.normpath(f"{here}/{path}")
