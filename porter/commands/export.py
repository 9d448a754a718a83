"""Write a tree's commits back as the port's patch series, one patch per commit.

A commit's message is the patch's header: subject, why, and the fields Level, Devices, Keeps, Gains,
Origin and Forwarded. An unchanged series is exported to the same bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import add_flag, add_json
from porter.errors import BadInput, Exit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT")
    parser.add_argument(
        "dir", nargs="?", type=Path, metavar="DIR", help="the tree (default: here, or trees/PORT)"
    )
    add_flag(parser, "--check", "write nothing; exit 1 if anything would change")
    add_flag(parser, "--drop", "remove levels that HEAD does not contain from the series")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.refresh import refresh
    from porter.report.terminal.editing import report_change
    from porter.terminal import counted
    from porter.tree.locked import hold_tree
    from porter.tree.tree import edits, shown

    with hold_tree(_start(args.port, args.dir), f"export {args.port}") as held:
        if held.tree.record.port != args.port:
            folder, port = shown(held.tree.folder), held.tree.record.port
            raise BadInput(f"{folder}: a tree of {port}, expected {args.port}")
        done = refresh(held, "export", drop=args.drop, edits=False, check=args.check)
        notes = []
        if uncommitted := edits(held.tree, untracked=False):
            many = counted(len(uncommitted), "edited file")
            notes.append(f"{shown(held.tree.folder)}: {many} not committed, so not exported")
    code = report_change(held, done, as_json=args.json, notes=notes)
    changed = any(each.what != "unchanged" for each in done.published.patches)
    return Exit.FAILED if args.check and changed else code


def _start(port: str, folder: Path | None) -> Path | None:
    """Return where to look for the tree: the given folder, here, or the port's default folder."""
    from porter.places import project_root
    from porter.tree.apply import default_folder
    from porter.tree.tree import find_tree

    if folder is not None:
        return folder
    try:
        find_tree(None)
        return None
    except BadInput:
        default = default_folder(project_root(), port)
        return default if default.is_dir() else None
