"""Show which level a tree is at, what comes next, what is edited and what no source covered."""

from __future__ import annotations

import argparse

from porter.commands.options import add_json, add_tree

EXAMPLES = (
    ("porter status", "the level of the tree here, and its local edits"),
    ("porter status -C work --json", "of the tree in work, as JSON"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_tree(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.session import where_stopped
    from porter.report.terminal.tree import report_notes, status_json, status_lines
    from porter.terminal import emit, emit_json
    from porter.tree.locked import settle_if_idle
    from porter.tree.tree import edits, find_tree, position, series_changed

    tree = find_tree(args.dir)
    note = settle_if_idle(tree)
    here, edited, changed = position(tree), edits(tree), series_changed(tree)
    stopped = where_stopped(tree)
    report_notes((note,) if note else ())
    if args.json:
        emit_json(status_json(tree, here, edited, changed, stopped))
    else:
        emit(status_lines(tree, here, edited, changed, stopped))
    return 0
