"""List the levels of a port or of a tree; the tree's own level is marked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from porter.commands.options import add_json

if TYPE_CHECKING:
    from porter.tree.overview import PortView


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", metavar="PORT|DIR", help="a port, or a tree's folder (default: here)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.levels import log_json, log_lines
    from porter.terminal import emit, emit_json

    view = _view(args.what)
    if args.json:
        emit_json(log_json(view))
    else:
        emit(log_lines(view))
    return 0


def _view(what: str | None) -> PortView:
    from porter.errors import BadInput
    from porter.places import project_root
    from porter.tree.overview import view_port, view_tree
    from porter.upstream.pins import load_pins

    if what is None:
        return view_tree(None)
    if "/" not in what and what not in (".", ".."):
        try:
            root = project_root()
        except BadInput:
            return view_tree(Path(what))
        pins = load_pins(root)
        if what in pins.pins or not Path(what).is_dir():
            pins.port(what)
            return view_port(root, what)
    return view_tree(Path(what))
