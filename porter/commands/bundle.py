"""Write one file with everything that a machine without a network needs of some ports.

That is the pins' objects and releases, the series and recipes, and the wheels of the probes'
environments, which are built here for it. `porter fetch --from FILE` takes it in. torch is not in
it: environments use that of the machine they are on.
"""

from __future__ import annotations

import argparse

from porter.commands.options import (
    add_flag,
    add_json,
    add_ports,
    add_repeated,
    project_pins,
    the_ports,
)
from porter.errors import BadInput, Exit

EXAMPLES = (
    ("porter bundle v-diffusion -o cards.bundle", "one port, for machines like this one"),
    (
        "porter bundle -o arm.bundle --platform manylinux_2_28_aarch64",
        "every port, with wheels for another platform",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_ports(parser, "ports to take (default: all)")
    parser.add_argument("-o", dest="file", metavar="FILE", required=True, help="the file to write")
    add_repeated(
        parser, "--platform", "TAG", "wheels for this platform, as pip names it (default: here)"
    )
    add_flag(parser, "--no-environments", "leave out the wheels of the probes' environments")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the bundle; exit 1 when an upstream is not reachable."""
    from pathlib import Path

    from rich.console import Console

    from porter.bundle.make import make_bundle
    from porter.errors import SourceUnavailable
    from porter.report.terminal.bundle import made_json, made_lines
    from porter.report.terminal.progress import RunningDisplay, transfer_bar
    from porter.terminal import emit, emit_json
    from porter.verify.plan.port_trees import open_trees
    from porter.verify.plan.trees import NotReachable

    pins = project_pins(args)
    ports = [pins.port(name) for name in the_ports(args)] or list(pins.ports())
    if not ports:
        raise BadInput(f"{pins.root}: expected a port, found none")
    target = Path(args.file).absolute()
    display = RunningDisplay(Console(stderr=True, highlight=False))
    try:
        with open_trees(pins.root) as trees, transfer_bar() as trees.progress:
            made = make_bundle(
                *(pins, ports, trees, target, display, args.platform),
                environments=not args.no_environments,
            )
    except NotReachable as error:
        raise SourceUnavailable(f"{error}; nothing was written") from error
    if args.json:
        emit_json(made_json(made, target))
    else:
        emit(made_lines(made, target))
    return Exit.OK
