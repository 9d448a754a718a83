"""Move a tree one level: `next` up, `prev` down. Exit code 1 when there is no such level."""

from __future__ import annotations

import argparse

from porter.commands.options import add_keep, add_tree

EXAMPLES = (
    ("porter next", "move the tree here one level up"),
    ("porter next -C work --keep", "move the tree in work, and carry its local edits along"),
    ("porter prev", "move the tree here one level down"),
    ("porter prev -C work", "move the tree in work one level down"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_tree(parser)
    add_keep(parser)


def run(args: argparse.Namespace) -> int:
    from porter.tree.fast_checkout import by_step, fast_checkout

    by = 1 if args.command == "next" else -1
    if fast_checkout(args.dir, by_step(by), args.command):
        return 0
    from porter.report.terminal.tree import report_move
    from porter.tree.locked import hold_tree
    from porter.tree.move import level_beside, move

    with hold_tree(args.dir, args.command) as held:
        target = level_beside(held.tree, by)
        moved = move(held.tree, held.lock, target, args.command, keep=args.keep)
    report_move(held, moved)
    return 0
