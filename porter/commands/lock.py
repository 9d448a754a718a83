"""Rebuild every level of a port and write its levels.lock."""

from __future__ import annotations

import argparse

from porter.commands.options import project_pins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ports", nargs="+", metavar="PORT", help="a port of upstream_pins.yaml")


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.lock import lock_port

    pins = project_pins()
    for name in args.ports:
        print(lock_port(pins.root, pins, pins.port(name)))
    return Exit.OK
