"""Pin an upstream and make a port of it: entry, listing, empty series, lock, a first recipe.

UPSTREAM is a URL, OWNER/NAME of GitHub, the folder of a git repository, or a package of PyPI, whose
source release is then the pin. Nothing of it is executed. A failure leaves the project as it
was."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from porter.commands.options import add_command_line, add_repeated

if TYPE_CHECKING:
    from porter.project.add import Added, Asked

EXAMPLES = (
    ("porter add openai/guided-diffusion", "pin the head of a GitHub repository's default branch"),
    ("porter add huggingface/diffusers --commit v0.18.1", "pin a tag, a branch or a commit"),
    ("porter add accelerate==0.20.3", "pin a source release of PyPI"),
    (
        "porter add me/net --factory 'net.pt=net.Net(8)' -- python sample.py --steps 4",
        "write a recipe that runs this command, with a checkpoint made by this line",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "upstream", metavar="UPSTREAM", help="URL, OWNER/NAME, PATH or NAME[==VERSION]"
    )
    parser.add_argument(
        "--name", metavar="PORT", help="the port's name (default: the upstream's, in lower case)"
    )
    parser.add_argument(
        "--commit",
        metavar="REF",
        help="a branch, a tag or a commit id, which may be short (default: the default branch)",
    )
    add_repeated(parser, "--factory", "PATH=EXPRESSION", "make this file for the command")
    parser.add_argument(
        "--steps", metavar="OPTION", default="", help="the command's option that numbers its steps"
    )
    add_command_line(parser, "works upstream: [NAME=VALUE] python SCRIPT ARGUMENTS")


def run(args: argparse.Namespace) -> int:
    from porter.places import project_root
    from porter.project.add import add_port
    from porter.report.terminal.progress import transfer_bar
    from porter.terminal import emit

    root = project_root()
    asked = _asked(args)
    with transfer_bar() as progress:
        added = add_port(
            root,
            args.upstream,
            name=args.name,
            commit=args.commit,
            asked=asked,
            progress=progress,
        )
    emit(_lines(added))
    return 0


def _asked(args: argparse.Namespace) -> Asked | None:
    from porter.errors import BadInput
    from porter.project.add import Asked

    if not args.command_line:
        for option, given in (("--factory", args.factory), ("--steps", args.steps)):
            if given:
                raise BadInput(f"{option}: expected a command after --, found none")
        return None
    factories = dict(line.partition("=")[::2] for line in args.factory)
    for name, expression in factories.items():
        path = name.split("/")
        if not name or not expression or name.startswith("/") or ".." in path:
            raise BadInput(
                f"--factory {name}={expression}: expected PATH=EXPRESSION, the path below the"
                " folder that the command runs in"
            )
    return Asked(args.command_line, factories, args.steps)


def _lines(added: Added) -> Iterator[str]:
    from porter.terminal import counted, flow, table
    from porter.upstream.licence import NOASSERTION
    from porter.upstream.wanted import left_out_text

    port, pin = added.port, added.port.pin
    at = f"{pin.commit[:12]}{f' ({port.ref})' if port.ref else ''}" if pin.commit else ""
    yield f"added {pin.name}: {pin.url or pin.sdist}{f' at {at}' if at else ''}"
    left_out, files = port.left_out, sum(e.is_blob for e in port.listing.values())
    rows = [
        ("tree", pin.tree),
        ("licence", f"{pin.license} ({port.licence.note})"),
        ("wanted", f"{files - len(left_out)} of {counted(files, 'file')}"),
    ]
    if left_out:
        rows.append(("left out", left_out_text(left_out)))
    rows += [("submodule", f"{path}: pin {name}") for path, name in pin.submodules.items()]
    if release := port.release:
        held = f"{release.covered} of {release.wanted} wanted files"
        rows.append(("release", f"{release.sdist} has {held}: an alternate"))
    if added.start is not None:
        rows.append(("recipe", f"imports {', '.join(added.start.modules)}"))
    if command := added.command:
        rows.append(("recipe", f"runs {command.words}"))
        varied = "no option numbers them; --steps OPTION names one"
        if command.steps is not None:
            varied = f"{command.option}: {command.steps} and {command.steps + 2}"
        rows.append(("steps", varied))
    rows += [("wrote", file) for file in added.files]
    yield from table(rows, indent=2)
    for each in (port, *added.others):
        for note in each.notes:
            yield from flow(f"note: {note}", 2)
    todo = "read its licence, " if pin.license == NOASSERTION else ""
    if added.command is not None:
        name = pin.name
        yield f"next: {todo}`porter verify {name}`, `porter draft {name}`, `porter verify {name}`"
    elif added.start is None:
        yield f"next: {todo}write a recipe (no module of it can be imported without its scripts)"
    else:
        yield f"next: {todo}`porter verify {pin.name}`, then `porter apply {pin.name}`"
