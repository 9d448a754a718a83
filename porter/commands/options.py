"""Arguments that several commands share."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # typing itself is slow to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from porter.upstream.pins import Pins
    from porter.verify.execution.session import Options


def add_flag(parser: argparse.ArgumentParser, option: str, text: str) -> None:
    """An option without a value."""
    parser.add_argument(option, action="store_true", help=text)


def add_ports(parser: argparse.ArgumentParser, text: str) -> None:
    """``[PORT ...]``: which ports; none named means all that ``text`` says."""
    parser.add_argument("ports", nargs="*", metavar="PORT", help=text)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """``[DIR]``: the tree to work on."""
    parser.add_argument(
        "dir", nargs="?", metavar="DIR", help="a tree or a folder in it (default: here)"
    )


def add_folder_or_port(parser: argparse.ArgumentParser) -> None:
    """``-C DIR`` or ``--port PORT``: whose levels the positional arguments are."""
    text = "a tree or a folder in it (default: here)"
    parser.add_argument("-C", dest="dir", metavar="DIR", help=text)
    parser.add_argument("--port", metavar="PORT", help="levels of this port, without a tree")


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
    add_repeated(parser, "--recipe", "NAME", "only recipes whose name matches this pattern")
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


def project_pins() -> Pins:
    """Return the pins of the project here; their ``root`` is its folder."""
    from porter.places import project_root
    from porter.upstream.pins import load_pins

    return load_pins(project_root())


def run_options(args: argparse.Namespace) -> Options:
    """Return the values of :func:`add_run_options`."""
    from porter.verify.execution.session import Options

    return Options(jobs=args.jobs, fresh=args.fresh, warm=False if args.cold else None)


def positive(text: str) -> int:
    """Parse a number of the command line. Raises ArgumentTypeError for one below 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return int(text)
