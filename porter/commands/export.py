"""Write a tree's commits back as the port's patch series, one patch per commit.

A commit's message is the patch's header: subject, why, and the fields Level, Devices, Keeps, Gains,
Origin and Forwarded. An unchanged series is exported to the same bytes."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import add_flag, add_folder, add_json, add_port, the_tree
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
    add_flag(parser, "--drop", "remove levels that HEAD does not contain from the series")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.places import patches_dir
    from porter.report.terminal.tree import report_notes
    from porter.terminal import colour_wanted, counted, emit, emit_json, table
    from porter.tree.export import anchor, export_series
    from porter.tree.locked import hold_tree
    from porter.tree.populate import refresh
    from porter.tree.tree import edits, project_of, shown

    with hold_tree(_start(args), "export", rebuild=False) as held:
        port = held.tree.record.port
        if args.port not in (None, port):
            raise BadInput(f"{shown(held.tree.folder)}: a tree of {port}, expected {args.port}")
        folder = patches_dir(project_of(held.tree, writing=not args.check), port)
        done = export_series(held.tree, drop=args.drop, check=args.check)
        changed = [each for each in done if each.what != "unchanged"]
        notes = list(held.notes)
        if not args.check:
            anchor(refresh(held.tree))
        if uncommitted := edits(held.tree, untracked=False):
            many = counted(len(uncommitted), "edited file")
            notes.append(f"{shown(held.tree.folder)}: {many} not committed, so not exported")
    into = f"{'compared with' if args.check else 'written to'} {folder}"
    report_notes((*notes, into) if args.json else tuple(notes))
    if args.json:
        emit_json([{"patch": each.name, "status": each.what} for each in done])
    else:
        style = {"new": "green", "rewritten": "yellow", "removed": "red"}
        rows = [(each.what, each.name) for each in done]
        styles = [style.get(each.what, "dim") for each in done]
        emit([*table(rows, row_styles=styles, colour=colour_wanted()), into])
        if changed and not args.check:
            emit([f"next: `porter lint {port}`, then `porter lock {port}`"])
    return Exit.FAILED if args.check and changed else Exit.OK


def _start(args: argparse.Namespace) -> Path | str | None:
    """Return where to look for the tree: the given folder, here, or the port's default folder."""
    from porter.places import project_root
    from porter.tree.apply import default_folder

    if args.dir is not None or the_tree(args) is not None or args.port is None:
        return args.dir  # type: ignore[no-any-return]
    default = default_folder(project_root(), args.port)
    return default if default.is_dir() else None
