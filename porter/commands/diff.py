"""Show a difference: between two levels, from a level to the current files (one LEVEL), or the
local edits (none). In a pipe the output is byte-exact, fit for `git apply`."""

from __future__ import annotations

import argparse
import sys

from porter.commands.options import LEVEL_TEXT, add_flag, add_tree_or_port

EXAMPLES = (
    ("porter diff", "in a tree: the local edits"),
    ("porter diff minimal", "in a tree: from level minimal to the current files"),
    (
        "porter diff 0 2 --port v-diffusion --stat",
        "what the first two patches change, file by file",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, default in (("a", "the tree's own"), ("b", "the current files")):
        text = f"{LEVEL_TEXT} (default: {default})"
        parser.add_argument(name, nargs="?", metavar="LEVEL", help=text)
    add_tree_or_port(parser)
    add_flag(parser, "--stat", "only the files, and how much changed")


def run(args: argparse.Namespace) -> int:
    from porter.errors import BadInput
    from porter.terminal import colour_wanted, page, paint_diff, screen_width
    from porter.tree.difference import level_difference, tree_difference

    stat = screen_width() if args.stat else None
    if args.port is None:
        diff = tree_difference(args.dir, args.a, args.b, stat)
    elif args.dir is not None:
        raise BadInput("expected -C DIR or --port PORT, found both")
    elif args.a is None or args.b is None:
        raise BadInput(f"expected two levels of {args.port}, found {1 if args.a else 0}")
    else:
        diff = level_difference(args.port, args.a, args.b, stat)
    colour = colour_wanted()
    if sys.stdout.isatty() or colour:
        page(paint_diff(diff, colour))
    else:
        sys.stdout.buffer.write(diff)  # byte-exact: `porter diff 0 2 | git apply`
        sys.stdout.flush()
    return 0
