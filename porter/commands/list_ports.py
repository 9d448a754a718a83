"""List the ports: patches, pins, licences, and the submodules and companions they need."""

from __future__ import annotations

import argparse
from typing import Any

from porter.commands.options import add_json, project_pins

EXAMPLES = (
    ("porter list", "the ports of the project here"),
    ("porter list --root ~/my-ports --json", "of another project, as JSON"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from porter.terminal import colour_wanted, emit, emit_json, table

    pins = project_pins(args)
    ports = [_port(pins.root, pin) for pin in pins.ports()]
    if args.json:
        emit_json(ports)
        return 0
    if not ports:
        emit([f"no ports: {pins.root / 'patches'} holds no series"])
        return 0
    rows = [
        (
            port["port"],
            str(len(port["patches"])) + (f" + {len(port['off'])} off" if port["off"] else ""),
            port["pin"],
            port["license"],
            ", ".join([*port["submodules"], *port["companions"]]),
        )
        for port in ports
    ]
    head = ("PORT", "PATCHES", "PIN", "LICENCE", "NEEDS")
    styles = ("bold", None, "dim")
    emit(table(rows, head=head, right=(1,), styles=styles, colour=colour_wanted()))
    return 0


def _port(root: Any, pin: Any) -> dict[str, Any]:
    from porter.places import patches_dir
    from porter.series.series import read_series_file

    lines, problems = read_series_file(patches_dir(root, pin.name) / "series")
    return {
        "port": pin.name,
        "levels": len(lines) + 1,
        "patches": [line.name for line in lines if not line.off],
        "off": [line.name for line in lines if line.off],
        "pin": pin.commit[:10] if pin.commit else f"{pin.sdist.name} {pin.sdist.version}",
        "url": pin.url,
        "commit": pin.commit,
        "tree": pin.tree,
        "license": pin.license_shown,
        "submodules": dict(pin.submodules),
        "companions": list(pin.companions),
        "problems": [f"series:{problem.line}: {problem.text}" for problem in problems],
    }
