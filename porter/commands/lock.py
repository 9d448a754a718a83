"""Rebuild every level of a port and write its levels.lock."""

from __future__ import annotations

import argparse

from porter.commands.options import add_ports, no_port, project_pins, the_ports

EXAMPLES = (
    ("porter lock v-diffusion", "build every level and write patches/v-diffusion/levels.lock"),
    ("porter lock", "in a tree: lock its port, in the project it was made from"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports to lock")


def run(args: argparse.Namespace) -> int:
    from porter.errors import Exit
    from porter.levels.lock import lock_port

    pins, names = project_pins(args), the_ports(args)
    if not names:
        raise no_port(args)
    for name in names:
        print(lock_port(pins.root, pins, pins.port(name)))
    return Exit.OK
