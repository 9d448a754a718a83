"""Move a port to another commit of its upstream, and replay its levels there.

REF is a branch, a tag, a commit or a version. Patches that still fit move by themselves; one that
the upstream has meanwhile is dropped with --drop-merged. At a conflict, in a tree, the files hold
git's markers: resolve them, `git add` them, then `porter rebase --continue`. Pin, listing, series
and lock change together at the end; `porter undo` takes that back."""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_conflict_options,
    add_flag,
    add_json,
    add_port,
    project_folder,
    the_port,
)

EXAMPLES = (
    ("porter rebase diffusers --onto v0.19.0", "replay diffusers' levels on a later release"),
    ("porter rebase --onto main --range-diff", "in a tree: on a branch, and show each change"),
    (
        "porter rebase stable-diffusion --url CompVis/stable-diffusion --onto main",
        "move to another repository, which the pin names from then on",
    ),
    ("porter rebase --continue", "after a conflict is resolved and `git add`ed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    parser.add_argument(
        "--onto",
        metavar="REF",
        help="the new upstream (default: where the pins file was moved to since the last lock)",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the repository that has the new upstream, such as a fork (default: the pin's)",
    )
    add_flag(parser, "--drop-merged", "drop levels that the new upstream has already")
    add_flag(parser, "--range-diff", "print what changed in each patch")
    add_conflict_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.editing.rebase import abort_rebase, continue_rebase, rebase
    from porter.report.terminal.editing import report_abort, report_rebase
    from porter.report.terminal.progress import transfer_bar
    from porter.tree.locked import hold_tree

    root = project_folder(args)
    if not (args.abort or args.go_on or args.skip):
        with transfer_bar() as progress:
            done = rebase(
                args.dir,
                root,
                the_port(args),
                args.onto,
                url=args.url,
                drop_merged=args.drop_merged,
                progress=progress,
            )
        return report_rebase(done, range_diff=args.range_diff, as_json=args.json)
    with hold_tree(args.dir, "rebase") as held:
        if args.abort:
            return report_abort(held, abort_rebase(held))
        with transfer_bar() as progress:
            done = continue_rebase(held, skip=args.skip, progress=progress)
    return report_rebase(done, range_diff=args.range_diff, as_json=args.json)
