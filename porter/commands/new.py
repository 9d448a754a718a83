"""Make the tree's edits a new level above the one it is at, and replay the levels above.

Tracked edits and staged files go in; untracked files are named. The message comes from the options,
from -F FILE, or from git's editor, which opens with a template of all fields. Without edits the
tree's commit template is prepared: the next `git commit` has it, then `porter refresh` makes the
level."""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_conflict_options,
    add_header_options,
    add_json,
    add_tree,
    header_values,
    needed,
    resumed,
)

EXAMPLES = (
    ("porter new fp32-norm", "in a tree: its edits become level fp32-norm; write its message"),
    ("porter new fp32-norm -F message.txt", "the same, with the message of a file"),
    ("porter new --continue", "after a conflict with a level above is resolved and `git add`ed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the new level's name")
    add_tree(parser)
    add_header_options(parser)
    parser.add_argument("-F", dest="file", metavar="FILE", help="read the message from FILE")
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if (code := resumed(args)) is not None:
        return code
    needed(args, ("name", "NAME"))
    from pathlib import Path

    from porter.editing.new import new_level
    from porter.report.terminal.editing import report_change, report_prepared
    from porter.tree.locked import hold_tree

    message = None if args.file is None else Path(args.file).read_text("utf-8")
    with hold_tree(args.dir, f"new {args.name}") as held:
        made = new_level(held, args.name, header_values(args), message)
    if made.changed is None:
        return report_prepared(held, args.name, made.notes)
    return report_change(held, made.changed, as_json=args.json, notes=made.notes)
