"""Move a tree to a level, given by number, name or unique prefix. Only files that differ are
rewritten; local edits are never lost."""

from __future__ import annotations

import argparse

from porter.commands.options import LEVEL_TEXT, add_keep, add_tree

EXAMPLES = (
    ("porter goto 3", "move the tree here to level 3"),
    (
        "porter goto static --keep",
        "to the level whose name begins with static, with the local edits",
    ),
    ("porter goto upstream -C work", "move the tree in work to level 0"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", metavar="LEVEL", help=LEVEL_TEXT)
    add_tree(parser)
    add_keep(parser)


def run(args: argparse.Namespace) -> int:
    from porter.tree.fast_checkout import by_name, fast_checkout

    what = f"goto {args.level}"
    if fast_checkout(args.dir, by_name(args.level), what):
        return 0
    from porter.report.terminal.tree import report_move
    from porter.tree.locked import hold_tree
    from porter.tree.move import move
    from porter.tree.tree import pick_level

    with hold_tree(args.dir, what) as held:
        target = pick_level(held.tree, args.level)
        moved = move(held.tree, held.lock, target, what, keep=args.keep)
    report_move(held, moved)
    return 0
