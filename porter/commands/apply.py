"""Check a level of a port out into a folder: a git work tree whose `git log` shows the levels.

Companion ports (accelerate for diffusers) are checked out beside it. An existing tree of the port
is moved to the level, if one is named."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.commands.options import (
    add_flag,
    add_folder,
    add_keep,
    add_level_option,
    add_port,
    the_tree,
)

if TYPE_CHECKING:
    from pathlib import Path


EXAMPLES = (
    (
        "porter apply v-diffusion work",
        "check the last level of v-diffusion out into the new folder work",
    ),
    (
        "porter apply v-diffusion work --level minimal",
        "check level minimal out, or move the tree in work there",
    ),
    ("porter apply diffusers --alone", "into trees/diffusers, without accelerate beside it"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser)
    add_folder(parser, "the same as -C DIR; a new folder, or a tree (default: trees/PORT)")
    add_level_option(parser, "this level; default: the last")
    add_flag(parser, "--alone", "without the companion ports")
    add_keep(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.progress import transfer_bar
    from porter.report.terminal.tree import applied_lines
    from porter.terminal import emit
    from porter.tree.apply import apply_port

    root, port, folder = _what(args)
    with transfer_bar() as progress:
        done = apply_port(
            root,
            port,
            folder,
            level=args.level,
            companions=not args.alone,
            keep=args.keep,
            progress=progress,
        )
    for each in done:
        emit(applied_lines(each))
    return 0


def _what(args: argparse.Namespace) -> tuple[Path, str, Path | None]:
    """Return project, port and folder; without PORT those of the tree here."""
    from pathlib import Path

    from porter.commands.options import no_port
    from porter.tree.tree import project_of, tree_around

    if args.port is not None:
        return project_of(tree_around()), args.port, Path(args.dir) if args.dir else None
    if (tree := the_tree(args)) is None:
        raise no_port(args)
    return project_of(tree), tree.record.port, tree.folder
