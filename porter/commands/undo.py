"""Take the last change of a port's series back: `undo`; make it again: `redo`.

Every command that changes a series (refresh, new, rename, move, drop, split, fold, rebase, import,
export, lock) records the state before and after. Undo restores patches, series file, lock and pin
together, and can itself be undone. Changes made without porter are a step of their own."""

from __future__ import annotations

import argparse

from porter.commands.options import add_flag, add_json, add_port, project_folder, the_port

EXAMPLES = (
    ("porter undo", "in a tree: take the last change of its port's series back"),
    ("porter undo v-diffusion --list", "show every state of the series, the newest first"),
    ("porter undo v-diffusion --to 0e1f2a3b4c", "restore one of these states"),
    ("porter redo", "in a tree: make the change that was undone again"),
    ("porter redo v-diffusion --json", "the same, without a tree; print JSON"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    add_flag(parser, "--list", "show the log of the series' states")
    parser.add_argument("--to", metavar="ID", help="restore this state of the log")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing import history
    from porter.editing.undo import follow
    from porter.report.terminal.editing import report_log, report_restored

    root, port = project_folder(args), the_port(args)
    if args.list:
        return report_log(history.History(root, port), as_json=args.json)
    if args.to:
        done = history.restore(root, port, args.to)
    else:
        done = (history.undo if args.command == "undo" else history.redo)(root, port)
    return report_restored(done, follow(args.dir, port, done), as_json=args.json)
