"""Rebuild every level of a port and write its levels.lock."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", nargs="+", metavar="PORT", help="a port of upstream_pins.yaml")


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.lock import lock_port
    from porter.places import project_root
    from porter.upstream.pins import load_pins

    root = project_root()
    pins = load_pins(root)
    for name in args.ports:
        print(lock_port(root, pins, pins.port(name)))
    return Exit.OK
