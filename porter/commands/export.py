"""Write a tree's commits back as the port's patch series, one patch per commit.

A commit's message is the patch's header: subject, why, and the fields Level, Devices, Keeps, Gains,
Origin and Forwarded. The levels above HEAD are replayed on it. An unchanged series is exported to
the same bytes. `porter refresh` does the same and takes local edits in too. With a --to option the
series stays as it is, and its levels are given out in that form; `porter import` takes it back."""

from __future__ import annotations

import argparse
from pathlib import Path

from porter.commands.options import (
    add_flag,
    add_folder,
    add_json,
    add_level_option,
    add_port,
    project_folder,
    the_port,
    the_tree,
)
from porter.errors import BadInput, Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from porter.exchange.exporting import GivenOut

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
    ("porter export v-diffusion --to-mbox out.mbox", "write the levels as mails for `git am`"),
)

FORMS = ("branch", "mbox", "quilt", "diff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    add_folder(parser, "the same as -C DIR (default: here, or trees/PORT)")
    add_flag(parser, "--check", "write nothing; exit 1 if anything would change")
    add_flag(parser, "--drop", "take levels that HEAD leaves out out of the series")
    parser.add_argument("--to-branch", metavar="NAME", help="make a branch of the levels")
    parser.add_argument("--to-mbox", type=Path, metavar="FILE", help="write mails for `git am`")
    parser.add_argument("--to-quilt", type=Path, metavar="FOLDER", help="write a quilt folder")
    parser.add_argument(
        "--to-diff", type=Path, metavar="FILE", help="write one diff, from the upstream to a level"
    )
    text = "where --to-branch goes (default: the tree)"
    parser.add_argument("--repository", type=Path, metavar="FOLDER", help=text)
    add_level_option(parser, "give out the levels up to this one")
    add_flag(parser, "--force", "overwrite what is there")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    given = [f"--to-{form}" for form in FORMS if getattr(args, f"to_{form}")]
    if len(given) > 1:
        raise BadInput(f"export: expected one form, found {' and '.join(given)}")
    if given:
        return _give_out(args)
    for option in ("repository", "level", "force"):
        if getattr(args, option):
            raise BadInput(f"export: --{option} is for what --to-branch, --to-mbox, ... give out")
    return _write_series(args)


def _write_series(args: argparse.Namespace) -> int:
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


def _give_out(args: argparse.Namespace) -> int:
    from porter.report.terminal.editing import report_given_out

    if args.check or args.drop:
        raise BadInput("export: --check and --drop are about the series; no --to option takes them")
    if args.repository and not args.to_branch:
        raise BadInput("export: --repository is where --to-branch goes; there is no --to-branch")
    args.writes = False  # into the project
    return report_given_out(_quilt(args) if args.to_quilt else _levels(args), as_json=args.json)


def _quilt(args: argparse.Namespace) -> GivenOut:
    from porter.exchange.exporting import patch_number, to_quilt
    from porter.series.series import load_series
    from porter.upstream.pins import load_pins

    root = project_folder(args)
    series = load_series(root, load_pins(root).port(the_port(args)).name)
    last = patch_number(series.patches, args.level) if args.level else None
    return to_quilt(series.folder, series.patches, last, args.to_quilt, args.force)


def _levels(args: argparse.Namespace) -> GivenOut:
    from porter.editing.level_commits import level_commits
    from porter.exchange.exporting import last_level, to_branch, to_diff, to_mailbox
    from porter.tree.tree import find_tree

    port = the_port(args)
    with level_commits(project_folder(args), port) as series:
        level = last_level(series, args.level)
        if args.to_mbox:
            return to_mailbox(series, level, args.to_mbox, args.force)
        if args.to_diff:
            return to_diff(series, level, args.to_diff, args.force)
        repository = args.repository
        if repository is None:
            tree = find_tree(_start(args))
            if tree.record.port != port:
                raise BadInput(f"{tree.folder}: a tree of {tree.record.port}, expected {port}")
            repository = tree.folder
        return to_branch(series, level, args.to_branch, repository, args.force)


def _start(args: argparse.Namespace) -> Path | str | None:
    """Return where to look for the tree: the given folder, here, or the port's default folder."""
    from porter.places import project_root
    from porter.tree.apply import default_folder

    if args.dir is not None or the_tree(args) is not None or args.port is None:
        return args.dir  # type: ignore[no-any-return]
    default = default_folder(project_root(), args.port)
    return default if default.is_dir() else None
