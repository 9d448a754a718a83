"""Write a tree's commits back as the port's patch series, one patch per commit.

A commit's message is the patch's header: subject, why, and the fields Level, Devices, Keeps, Gains,
Origin and Forwarded. The levels above HEAD are replayed on it. An unchanged series is exported to
the same bytes. `porter refresh` does the same and takes local edits in too."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import (
    add_flag,
    add_folder,
    add_json,
    add_port,
    project_folder,
    the_tree,
)
from porter.errors import BadInput, Exit

EXAMPLES = (
    ("porter export", "in a tree: write its commits back as the series of its port"),
    (
        "porter export v-diffusion work --check",
        "write nothing; exit 1 if the tree in work differs from the series",
    ),
    (
        "porter export -C work --root ~/my-ports",
        "write the series of another project than the tree's",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    add_folder(parser, "the same as -C DIR (default: here, or trees/PORT)")
    add_flag(parser, "--check", "write nothing; exit 1 if anything would change")
    add_flag(parser, "--drop", "take levels that HEAD leaves out out of the series")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.refresh import refresh
    from porter.report.terminal.editing import report_change
    from porter.terminal import counted
    from porter.tree.locked import hold_tree
    from porter.tree.tree import edits, shown

    project_folder(args)
    with hold_tree(_start(args), "export") as held:
        port = held.tree.record.port
        if args.port not in (None, port):
            raise BadInput(f"{shown(held.tree.folder)}: a tree of {port}, expected {args.port}")
        done = refresh(held, "export", drop=args.drop, edits=False, check=args.check)
        notes = []
        if uncommitted := edits(held.tree, untracked=False):
            many = counted(len(uncommitted), "edited file")
            notes.append(f"{shown(held.tree.folder)}: {many} not committed, so not exported")
    code = report_change(held, done, as_json=args.json, notes=notes)
    changed = any(each.what != "unchanged" for each in done.published.patches)
    return Exit.FAILED if args.check and changed else code


def _start(args: argparse.Namespace) -> Path | str | None:
    """Return where to look for the tree: the given folder, here, or the port's default folder."""
    from porter.places import project_root
    from porter.tree.apply import default_folder

    if args.dir is not None or the_tree(args) is not None or args.port is None:
        return args.dir  # type: ignore[no-any-return]
    default = default_folder(project_root(), args.port)
    return default if default.is_dir() else None
