"""Make the tree's edits part of the level it is at, and replay the levels above.

Commits made by hand count too, at any level: an amended commit changes its level, a new one with
all fields becomes a level, `git commit --fixup` goes into the commit it names. The patches and
levels.lock are rewritten together; `porter undo` takes that back. At a conflict the files hold
git's markers: resolve them, `git add` them, then `porter refresh --continue`."""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_conflict_options,
    add_flag,
    add_json,
    add_tree,
    project_folder,
    resumed,
)

EXAMPLES = (
    ("porter refresh", "in a tree: its edits become part of the level it is at"),
    ("porter refresh --continue", "after a conflict is resolved and `git add`ed"),
    ("porter refresh --abort", "give up: tree and series are as before"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_tree(parser)
    add_flag(parser, "--drop", "take levels that HEAD does not hold out of the series")
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    project_folder(args)
    if (code := resumed(args)) is not None:
        return code
    from porter.editing.refresh import refresh
    from porter.report.terminal.editing import report_change
    from porter.tree.locked import hold_tree

    with hold_tree(args.dir, "refresh") as held:
        done = refresh(held, drop=args.drop)
    return report_change(held, done, as_json=args.json)
