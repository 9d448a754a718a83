"""Take patches from elsewhere into a port's series: each becomes a level, all of them or none.

SOURCE is a quilt folder, a mailbox or mail (`git format-patch`), or a diff; with --git a range A..B
of a repository; with --tree a whole folder or revision, taken as its difference from the series.
What a patch does not state is written TODO, and `porter lint` lists it. In a tree of the port a
conflict stops there: resolve it, `git add` the files, then `porter import --continue`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from porter.commands.options import (
    add_conflict_options,
    add_json,
    add_port,
    add_repeated,
    changed_place,
    project_pins,
    resumed,
    the_tree,
)
from porter.errors import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from porter.editing.level_commits import LevelCommits
    from porter.exchange.foreign_header import Ask
    from porter.exchange.importing import Imported
    from porter.exchange.incoming import Incoming

EXAMPLES = (
    ("porter import my-model debian/patches", "take a quilt series in"),
    (
        "porter import my-model vendor.diff --header Devices=hpu",
        "take a bare diff in; what it does not say is TODO, which lint reports",
    ),
    ("porter import my-model --git ../fork v1.0..hpu", "take a fork's commits in"),
    (
        "porter import my-model --tree ../copy --like v-diffusion",
        "take a folder in, split by the files of another port's levels",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="a file, a folder or a range")
    parser.add_argument("--git", type=Path, metavar="REPOSITORY", help="SOURCE is a range of it")
    parser.add_argument("--tree", metavar="TREE", help="take a whole folder or revision in")
    parser.add_argument(
        "--like", metavar="OTHER", help="split --tree by the files that port OTHER's levels touch"
    )
    parser.add_argument("--after", metavar="OTHER", help="above level OTHER (default: at the end)")
    text = "FIELD=VALUE, or a file like the head of a patch: what the patches do not say"
    add_repeated(parser, "--header", "HEADER", text)
    parser.add_argument("--author", metavar="'NAME <EMAIL>'", default="", help="who made them")
    parser.add_argument("--date", metavar="DATE", default="", help="when: ISO 8601 or as in a mail")
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if (code := resumed(args)) is not None:
        return code
    _sort_operands(args)
    if bool(args.sources) == bool(args.tree):
        raise BadInput("import: expected SOURCE, or --tree TREE alone")
    if args.like and not args.tree:
        raise BadInput("import: --like splits a --tree; there is none")
    from porter.editing.level_commits import level_commits
    from porter.exchange.foreign_header import given_of
    from porter.exchange.importing import Plan, import_patches
    from porter.report.terminal.editing import report_change

    source = args.tree or " ".join(args.sources)
    given = given_of(args.header, args.author, args.date)
    with changed_place(args, source) as place:
        repository = place.repository
        with level_commits(repository.project, repository.port) as series:
            items, notes = _read(args, series)
            plan = Plan(place.what, args.after or "", given=given, ask=_ask())
            done: Imported = import_patches(series, place, items, plan)
    notes = (*notes, *done.notes)
    return report_change(place.held, done.changed, as_json=args.json, notes=notes)


def _sort_operands(args: argparse.Namespace) -> None:
    """Take the first operand as a SOURCE if it is no port's name: a tree knows its port."""
    args.port = getattr(args, "port", None)
    if args.port is None or args.port in project_pins(args).pins or the_tree(args) is None:
        return
    args.sources.insert(0, args.port)
    args.port = None


def _read(args: argparse.Namespace, series: LevelCommits) -> tuple[list[Incoming], tuple[str, ...]]:
    from porter.exchange.importing import level_below
    from porter.exchange.incoming import read_git, read_source
    from porter.exchange.whole_tree import as_patches, read_folder, read_revision

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
