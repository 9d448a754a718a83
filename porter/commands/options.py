"""Arguments that several commands share, and what they mean: one grammar for all commands.

PORT, LEVEL and DIR are given alike everywhere (docs/commands.md has the table):

- ``--port PORT`` in every command about ports, and PORT as an operand unless levels are the
  operands. In a tree it may be left out: :func:`add_ports` with :func:`the_ports`, :func:`add_port`
  with :func:`the_port`.
- LEVEL is an operand of commands on levels, which take :func:`add_tree_or_port`; in the others it
  is ``--level LEVEL``: :func:`add_level_option`. (``--as LEVEL``: as what another tree counts.)
- ``-C DIR`` names the tree; all the functions above add it. :func:`add_tree` is for commands on
  trees alone.

A command asks :func:`project_folder` (or :func:`project_pins`) for its project, never
:func:`porter.places.project_root`: that function holds the rule on what may be written where.
``--root DIR`` is added to every command by ``porter/cli.py``.
"""

from __future__ import annotations

import argparse

from porter.errors import BadInput

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any

    from porter.editing.place import Place
    from porter.tree.tree import Tree
    from porter.upstream.pins import Pins
    from porter.verify.execution.session import Options
    from porter.verify.execution.timings import Timings


def add_flag(parser: argparse.ArgumentParser, option: str, text: str) -> None:
    """An option without a value."""
    parser.add_argument(option, action="store_true", help=text)


class _Once(argparse.Action):
    """A value with two spellings, of which a command line may use one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            parser.error(f"expected one {self.metavar}, found two")
        setattr(namespace, self.dest, values)


def _add_operand(parser: argparse.ArgumentParser, dest: str, metavar: str, text: str) -> None:
    """Add an operand that an option names too; left out, it leaves the option's value alone."""
    parser.add_argument(
        dest, nargs="?", metavar=metavar, action=_Once, default=argparse.SUPPRESS, help=text
    )


def add_ports(parser: argparse.ArgumentParser, text: str) -> None:
    """``[PORT ...]``, ``--port PORT`` and ``-C DIR``: which ports; :func:`the_ports` reads it.

    ``text`` says which ports are meant outside a tree when none is named.
    """
    parser.add_argument(
        "ports",
        nargs="*",
        metavar="PORT",
        action="extend",
        default=argparse.SUPPRESS,
        help=f"{text}; in a tree: its port",
    )
    again = "the same as PORT (may be given again)"
    parser.add_argument("--port", dest="ports", action="append", metavar="PORT", help=again)
    _add_tree_option(parser)


def add_port(parser: argparse.ArgumentParser, text: str = "the port (default: the tree's)") -> None:
    """``[PORT]``, ``--port PORT`` and ``-C DIR``: one port; :func:`the_port` reads it."""
    _add_operand(parser, "port", "PORT", text)
    parser.add_argument("--port", action=_Once, metavar="PORT", help="the same as PORT")
    _add_tree_option(parser)


def add_command_line(parser: argparse.ArgumentParser, text: str) -> None:
    """``-- COMMAND``: all words after ``--``, in ``args.command_line``."""
    parser.add_argument_group("-- COMMAND", text)
    parser.set_defaults(command_line=[])


def add_tree_or_port(parser: argparse.ArgumentParser) -> None:
    """``-C DIR`` and ``--port PORT``: whose levels the operands are."""
    _add_tree_option(parser)
    text = "levels of this port, without a tree"
    parser.add_argument("--port", action=_Once, metavar="PORT", help=text)


def add_tree(parser: argparse.ArgumentParser) -> None:
    """``-C DIR``, or ``[DIR]`` as the last operand: the tree to work on, ``args.dir``."""
    _add_tree_option(parser)
    add_folder(parser)


def add_folder(
    parser: argparse.ArgumentParser, text: str = "the same as -C DIR (given last)"
) -> None:
    """``[DIR]`` as the last operand of a command that takes ``-C DIR`` too."""
    _add_operand(parser, "dir", "DIR", text)


def _add_tree_option(parser: argparse.ArgumentParser) -> None:
    text = "the tree, or a folder in it (default: here)"
    parser.add_argument("-C", dest="dir", action=_Once, metavar="DIR", help=text)


LEVEL_TEXT = "number, name or unique prefix of a name"


def add_level_option(parser: argparse.ArgumentParser, text: str, *, repeated: bool = False) -> None:
    """``--level LEVEL`` (``-l``), of a command whose operands are not levels."""
    if repeated:
        text = f"{text} ({LEVEL_TEXT}; may be given again)"
        parser.add_argument(
            "--level", "-l", action="append", default=[], metavar="LEVEL", help=text
        )
    else:
        parser.add_argument("--level", "-l", metavar="LEVEL", help=f"{text} ({LEVEL_TEXT})")


def the_tree(args: argparse.Namespace) -> Tree | None:
    """Return the tree that ``-C`` names, else the one around the working directory, or None.

    Raises BadInput when the folder after ``-C`` is in no tree.
    """
    from porter.tree.tree import find_tree, tree_around

    return tree_around() if args.dir is None else find_tree(args.dir)


def project_folder(args: argparse.Namespace) -> Path:
    """Return the project to work on: ``--root``, else the tree's, else the one found from here.

    A command that says ``writes=True`` in :data:`porter.commands.COMMANDS` gets it from
    :func:`porter.tree.tree.writing_root`, unless its ``--check`` is given, and prints the folder.

    Raises BadInput outside a project, and for such a command in another project than its tree's.
    """
    from porter.tree.tree import project_of

    writing = args.writes and not getattr(args, "check", False)
    tree = the_tree(args) if hasattr(args, "dir") else None
    return project_of(tree, writing=writing)


def project_pins(args: argparse.Namespace) -> Pins:
    """Return the pins of :func:`project_folder`; their ``root`` is its folder."""
    from porter.upstream.pins import load_pins

    return load_pins(project_folder(args))


def the_ports(args: argparse.Namespace) -> list[str]:
    """Return the named ports, else the tree's; an empty list, outside a tree, means all of them."""
    if args.ports:
        return list(args.ports)
    tree = the_tree(args)
    return [] if tree is None else [tree.record.port]


def the_port(args: argparse.Namespace) -> str:
    """Return the named port, else the tree's. Raises BadInput outside a tree when none is named."""
    if args.port is not None:
        return str(args.port)
    if (tree := the_tree(args)) is not None:
        return tree.record.port
    raise no_port(args)


def no_port(args: argparse.Namespace) -> BadInput:
    """Return the error for a command that needs a port and is given none, outside a tree."""
    names = ", ".join(pin.name for pin in project_pins(args).ports())
    return BadInput(
        f"{args.command}: expected PORT, found none and no tree here; "
        + (f"the ports are {names}" if names else "the project has no port yet")
    )


def add_repeated(
    parser: argparse.ArgumentParser,
    option: str,
    metavar: str | None,
    text: str,
    choices: Sequence[str] | None = None,
) -> None:
    """An option that may be given several times; its value is a list."""
    text = f"{text} (may be given again)"
    parser.add_argument(
        option, action="append", default=[], metavar=metavar, choices=choices, help=text
    )


def add_recipes(parser: argparse.ArgumentParser) -> None:
    """``--recipe`` and ``--tag``: which recipes of a port."""
    add_repeated(parser, "--recipe", "RECIPE", "only recipes whose name matches this pattern")
    add_repeated(parser, "--tag", "TAG", "only recipes with a tag that matches this pattern")


def add_json(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--json", "print JSON")


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """``--verbose``: what git and pip printed, in full."""
    from porter.errors import verbose_asked

    parser.add_argument(
        "--verbose",
        action="store_true",
        default=verbose_asked(),
        help="show in full why something is not reachable",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """``--format``, its shorthand ``--json``, and ``--output``."""
    parser.add_argument(
        "--format",
        choices=("text", "json", "github", "sarif", "junit"),
        default="text",
        help="what to print; github: annotations, sarif: code scanning, junit: test report",
    )
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="the same as --format json",
    )
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        type=_result_file,
        help="also write FILE; its suffix names the form: .json, .xml (JUnit), .sarif, .txt "
        "(may be given again)",
    )


def _result_file(text: str) -> Path:
    from pathlib import Path

    from porter.report.ci.write import SUFFIXES

    path = Path(text)
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise argparse.ArgumentTypeError(f"expected a name that ends in {known}, found {text!r}")
    return path


def add_keep(parser: argparse.ArgumentParser) -> None:
    """``--keep``: take local edits along."""
    text = "carry local edits along by a 3-way merge; on a conflict nothing changes"
    add_flag(parser, "--keep", text)


def add_conflict_options(parser: argparse.ArgumentParser) -> None:
    """``--continue``, ``--skip``, ``--abort``: after a change of the series hit a conflict."""
    group = parser.add_mutually_exclusive_group()
    for option, name, text in (
        ("--continue", "go_on", "go on after the conflict is resolved"),
        ("--skip", "skip", "leave the level in conflict out of the series, and go on"),
        ("--abort", "abort", "bring tree and series back to how they were"),
    ):
        group.add_argument(option, dest=name, action="store_true", help=text)


def add_header_options(parser: argparse.ArgumentParser) -> None:
    """The parts of a level's header; :func:`header_values` reads them."""
    for names, metavar, text in (
        (("-m", "--subject"), "TEXT", "what the level does, in one line"),
        (("--why",), "TEXT", "why, in a few sentences"),
        (("--devices",), "NAMES", "the devices it is for"),
        (("--keeps",), "TEXT", "what stays as it is, and the recipe that proves it"),
        (("--gains",), "TEXT", "what is better, and the recipe that proves it"),
        (("--origin",), "TEXT", "what port or document the change answers to"),
        (("--forwarded",), "TEXT", "a URL, no, or not-needed"),
    ):
        parser.add_argument(*names, metavar=metavar, default="", help=text)


def header_values(args: argparse.Namespace) -> dict[str, str]:
    """Return the given parts of a header by name (:data:`porter.editing.message.PARTS`)."""
    names = ("subject", "why", "devices", "keeps", "gains", "origin", "forwarded")
    return {name.capitalize(): value for name in names if (value := getattr(args, name))}


def resumed(args: argparse.Namespace) -> int | None:
    """Do what ``--continue``, ``--skip`` or ``--abort`` say; return the exit code, None without.

    Raises BadInput when no change of this command is in progress in the tree.
    """
    if not (args.go_on or args.skip or args.abort):
        return None
    from porter.editing.refresh import abort_change, continue_change
    from porter.report.terminal.editing import report_abort, report_change
    from porter.tree.locked import hold_tree

    with hold_tree(args.dir, args.command, rebuild=False) as held:
        if args.abort:
            return report_abort(held, abort_change(held, args.command))
        done = continue_change(held, args.command, skip=args.skip)
    return report_change(held, done, as_json=args.json)


def needed(args: argparse.Namespace, *operands: tuple[str, str]) -> None:
    """Raise BadInput for the first operand (dest, metavar) that is missing.

    For operands that ``--continue``, ``--skip`` and ``--abort`` do without.
    """
    for dest, metavar in operands:
        if not getattr(args, dest):
            raise BadInput(f"{args.command}: expected {metavar}, found none")


def changed_place(args: argparse.Namespace, *words: str) -> AbstractContextManager[Place]:
    """Open the series that a command changes; ``words`` are what follows its name."""
    from porter.editing.place import open_place

    if args.port is not None and args.dir is not None:
        raise BadInput("expected -C DIR or --port PORT, found both")
    what = " ".join([args.command, *filter(None, words)])
    return open_place(args.dir, project_folder(args), the_port(args), what)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """``--jobs``, ``--fresh``, ``--cold``: how probes are run."""
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="maximum number of parallel runs (default: as many as the cores allow)",
    )
    add_flag(parser, "--fresh", "ignore the cache")
    add_flag(
        parser,
        "--cold",
        "start a new interpreter for every run (as PORTER_COLD=1 does), instead of forking "
        "one that has imported torch",
    )
    add_sandbox(parser)


def add_sandbox(parser: argparse.ArgumentParser) -> None:
    """``--sandbox``: whether runs are held in namespaces."""
    parser.add_argument(
        "--sandbox",
        choices=("auto", "require", "off"),
        default="auto",
        help="hold runs in namespaces, without network and home: where the system lets (auto, the "
        "default), or else refuse (require), or never (off)",
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """``--cluster ADDRESS``: make the runs on other machines."""
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="make the runs on the machines of a Ray cluster: `auto`, the one this machine is part "
        "of, or ray://HOST:PORT",
    )


def run_options(args: argparse.Namespace, timings: Timings | None = None) -> Options:
    """Return the values of :func:`add_run_options`."""
    from porter.verify.execution.session import Options

    warm = False if args.cold else None
    return Options(
        jobs=args.jobs, fresh=args.fresh, warm=warm, sandbox=args.sandbox, timings=timings
    )


def add_judged_as(parser: argparse.ArgumentParser, option: str) -> None:
    """``--as LEVEL``: as what a foreign tree counts."""
    parser.add_argument(
        "--as",
        dest="judged_as",
        metavar="LEVEL",
        help=f"with {option}: judge by the claims on this level of PORT "
        "(default: by the contract, what every port must keep)",
    )


def expect_one_port(option: str, value: str, ports: Sequence[str]) -> None:
    """Raise BadInput unless one port stands beside an option that is about one."""
    if len(ports) != 1:
        found = " ".join(ports) or "none"
        raise BadInput(f"{option} {value}: expected one PORT beside it, found {found}")


def positive(text: str) -> int:
    """Parse a number of the command line. Raises ArgumentTypeError for one below 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return int(text)
