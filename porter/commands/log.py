"""List the levels of a port, or of the tree one is in, with the one the tree is at marked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.commands.options import add_json

if TYPE_CHECKING:
    from porter.tree.overview import PortView


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", metavar="PORT|DIR", help="a port, or a tree's folder (default: here)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.terminal import emit, emit_json

    view = _view(args.what)
    if args.json:
        emit_json(_value(view))
    else:
        emit(_lines(view))
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


def _value(view: PortView) -> dict[str, Any]:
    from porter.terminal import readable

    at = view.here.level.number if view.here and view.here.level and not view.here.former else None
    return {
        "port": view.pin.name,
        "folder": str(view.tree.folder) if view.tree else None,
        "levels": [
            {
                "number": level.number,
                "name": level.name,
                "subject": level.subject,
                "patch": level.patch.name if level.patch else None,
                "devices": list(level.devices),
                "files": [readable(path) for path in level.paths],
                "commit": level.commit,
                "tree": level.tree,
                "current": level.number == at,
            }
            for level in view.levels
        ],
    }


def _lines(view: PortView) -> list[str]:
    from porter.terminal import colour_wanted, counted, paint, table
    from porter.tree.tree import shown

    colour, here = colour_wanted(), view.here
    patches = counted(len(view.levels) - 1, "patch")
    where = f" in {shown(view.tree.folder)}" if view.tree else ""
    pin = view.pin
    source = f"upstream {pin.commit[:10]}" if pin.commit else str(pin.sdist)
    lines = [f"{paint(pin.name, 'bold', colour)}{where}: {patches} on {source}", ""]
    rows, styles = [], []
    for level in view.levels:
        at = bool(here and here.level and here.level.name == level.name)
        mark = "*" if at and here and not here.ahead else "+" if at else " "
        files = counted(len(level.paths), "file") if level.patch else ""
        devices = ",".join(level.devices)
        rows.append((f"{mark} {level.number}", level.name, devices, files, level.subject))
        styles.append("green" if at else None)
    head = ("  #", "LEVEL", "DEVICES", "TOUCHES", "SUBJECT")
    lines += table(rows, head=head, styles=("dim", "cyan"), row_styles=styles, colour=colour)
    if here and here.level and here.ahead:
        lines += ["", f"+ HEAD is {counted(here.ahead, 'commit')} after this level"]
    return lines
