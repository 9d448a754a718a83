"""Show one level: who made it and why, what it keeps and gains, its files and its diff."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from porter.commands.options import LEVEL_TEXT, add_flag, add_json, add_tree_or_port

if TYPE_CHECKING:
    from porter.tree.overview import LevelView, PortView


EXAMPLES = (
    ("porter show", "in a tree: the level it is at"),
    ("porter show minimal --port v-diffusion", "one level of a port: header, files and diff"),
    ("porter show 3 -C work --stat", "level 3 of the tree in work, without the diff"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "level", nargs="?", metavar="LEVEL", help=f"{LEVEL_TEXT} (default: the tree's)"
    )
    add_tree_or_port(parser)
    add_flag(parser, "--stat", "leave the diff out")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.levels import level_json, level_lines
    from porter.terminal import emit, emit_json, page
    from porter.tree.overview import view

    port = view(args.dir, args.port)
    level = _chosen(port, args.level)
    if args.json:
        emit_json(level_json(port, level))
    else:
        lines = level_lines(port, level, diff=not args.stat)
        emit(lines) if args.stat else page(lines)
    return 0


def _chosen(port: PortView, text: str | None) -> LevelView:
    from porter.errors import BadInput

    if text is not None:
        return port.level(text)
    if port.here is not None and port.here.level is not None:
        return port.level(port.here.level.name)
    raise BadInput(f"which level? `porter log {port.pin.name}` lists them")
