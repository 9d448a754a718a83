"""List the levels of a port or of a tree; the tree's own level is marked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from porter.commands.options import add_json, add_port

if TYPE_CHECKING:
    from porter.tree.overview import PortView


EXAMPLES = (
    ("porter log", "in a tree: the levels of its port, its own one marked"),
    ("porter log v-diffusion", "the levels of a port"),
    ("porter log -C work --json", "the levels of the tree in work, as JSON"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_port(parser, "the port, or the folder of a tree (default: the tree here)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.report.terminal.levels import log_json, log_lines
    from porter.terminal import emit, emit_json
    from porter.tree.overview import view_tree

    view = view_tree(args.dir) if args.port is None else _view(args.port)
    if args.json:
        emit_json(log_json(view))
    else:
        emit(log_lines(view))
    return 0


def _view(what: str) -> PortView:
    from porter.errors import BadInput
    from porter.tree.overview import view_port, view_tree
    from porter.tree.tree import project_of, tree_around
    from porter.upstream.pins import load_pins

    if "/" not in what and what not in (".", ".."):
        try:
            root = project_of(tree_around())
        except BadInput:
            return view_tree(Path(what))
        pins = load_pins(root)
        if what in pins.pins or not Path(what).is_dir():
            pins.port(what)
            return view_port(root, what)
    return view_tree(Path(what))
