"""Take patches from elsewhere into a port's series: each becomes a level, all of them or none.

SOURCE is a quilt folder, a mailbox or mail (`git format-patch`), or a diff; with --git a range A..B
of a repository; with --tree a whole folder or revision, taken as its difference from the series.
What a patch does not state is written TODO, and `porter lint` lists it. In a tree of the port a
conflict stops there: resolve it, `git add` the files, then `porter import --continue`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from porter.commands.options import add_conflict_options, add_json, add_repeated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from porter.editing.foreign_header import Ask
    from porter.editing.importing import Imported, Plan
    from porter.editing.incoming import Incoming
    from porter.editing.level_commits import LevelCommits
    from porter.tree.locked import LockedTree

INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", nargs="?", metavar="PORT")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="a file, a folder or a range")
    parser.add_argument(
        "-C", dest="dir", metavar="DIR", help="a tree of the port (default: here, if it is one)"
    )
    parser.add_argument("--git", type=Path, metavar="DIR", help="SOURCE is a range A..B of DIR")
    parser.add_argument("--tree", metavar="DIR|REV", help="take a whole folder or revision in")
    parser.add_argument(
        "--like", metavar="PORT", help="split --tree by the files that PORT's levels touch"
    )
    parser.add_argument("--after", metavar="LEVEL", help="insert above LEVEL (default: at the end)")
    text = "FIELD=VALUE, or a file like the header of a patch: what the patches do not say"
    add_repeated(parser, "--header", "FILE|FIELD=VALUE", text)
    parser.add_argument("--author", metavar="'NAME <EMAIL>'", default="")
    parser.add_argument("--date", metavar="DATE", default="", help="ISO 8601, or as in a mail")
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.errors import BadInput
    from porter.report.terminal.editing import report_abort, report_change
    from porter.tree.locked import hold_tree

    if args.abort or args.go_on or args.skip:
        from porter.editing.refresh import abort_change, continue_change

        with hold_tree(args.dir, "import") as held:
            if args.abort:
                return report_abort(held, abort_change(held, "import"))
            done = continue_change(held, "import", skip=args.skip)
        return report_change(held, done, as_json=args.json)
    if args.port is None or bool(args.sources) == bool(args.tree):
        raise BadInput("import: expected PORT and SOURCE..., or PORT and --tree")
    if args.like and not args.tree:
        raise BadInput("import: --like splits a --tree; there is none")
    folder = _tree_folder(args.port, args.dir)
    if folder is None:
        return _report(None, _import(args, None), args.json)
    with hold_tree(folder, f"import {args.port}") as held:
        done_there = _import(args, held)
    return _report(held, done_there, args.json)


def _report(held: LockedTree | None, done: Imported, as_json: bool) -> int:
    from porter.report.terminal.editing import report_change

    return report_change(held, done.changed, as_json=as_json, notes=done.notes)


def _tree_folder(port: str, folder: str | None) -> Path | None:
    """Return the tree to work in: the named one, or the one here if it is of this port."""
    from porter.errors import BadInput
    from porter.tree.tree import find_tree, shown

    if folder is not None:
        tree = find_tree(folder)
        if tree.record.port != port:
            where = shown(tree.folder)
            raise BadInput(f"{where}: a tree of {tree.record.port}, expected {port}")
        return tree.folder
    try:
        tree = find_tree(None)
    except BadInput:
        return None
    return tree.folder if tree.record.port == port else None


def _import(args: argparse.Namespace, held: LockedTree | None) -> Imported:
    from dataclasses import replace

    from porter.editing.importing import import_patches, refuse_busy
    from porter.editing.level_commits import level_commits
    from porter.places import project_root
    from porter.project_change import lock_project
    from porter.tree.tree import tree_root

    if held is not None:
        refuse_busy(held)
    root = tree_root(held.tree) if held is not None else project_root()
    plan = _plan(args)
    with lock_project(root), level_commits(root, args.port) as series:
        items, notes = _read(args, series)
        done = import_patches(series, held, items, plan)
    return replace(done, notes=(*notes, *done.notes))


def _plan(args: argparse.Namespace) -> Plan:
    from porter.editing.foreign_header import given_of
    from porter.editing.importing import Plan

    source = args.tree or " ".join(args.sources)
    given = given_of(args.header, args.author, args.date)
    return Plan(f"import {source}", args.after or "", given, _ask())


def _read(args: argparse.Namespace, series: LevelCommits) -> tuple[list[Incoming], tuple[str, ...]]:
    from porter.editing.importing import level_below
    from porter.editing.incoming import read_git, read_source
    from porter.editing.whole_tree import as_patches, read_folder, read_revision

    if args.tree:
        level, folder = level_below(series, args.after or ""), Path(args.tree)
        if folder.is_dir() and args.git is None:
            whole = read_folder(series, folder, level)
        else:
            whole = read_revision(series, args.git or Path.cwd(), args.tree, level)
        return as_patches(series, whole, level, args.like), whole.notes
    if args.git is not None:
        base = series.base.oid
        found = [read_git(series.folder, args.git, each, base) for each in args.sources]
    else:
        found = [read_source(series.git, Path(each)) for each in args.sources]
    return [item for items in found for item in items], ()


def _ask() -> Ask | None:
    """Return what asks for a patch's fields, on a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(where: str, name: str, default: str) -> str:
        hint = f" [{default}]" if default else " (empty: TODO)"
        print(f"{where}: {name}{hint}: ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip() or default

    return ask
