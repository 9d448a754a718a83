"""The command line: parse, run one command, print its error in one line.

Exit codes are :class:`porter.errors.Exit`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from porter import __version__
from porter.commands import COMMANDS, Command
from porter.errors import VERBOSE, Exit, PorterError, verbose_asked

_DESCRIPTION = "Patch-based porting of PyTorch models: pins, patch levels, verified parity."
_EXAMPLES = "examples:"


def _overview() -> str:
    """Return the help page: every command under its heading, one line each."""
    from textwrap import wrap

    lines = ["usage: porter COMMAND [ARGUMENTS]", "", _DESCRIPTION]
    width = max(len(command.name) for command in COMMANDS)
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines += ["", f"{group}:"]
        lines += [f"  {c.name:<{width}}  {c.help}" for c in COMMANDS if c.group == group]
    free = [command.name for command in COMMANDS if command.needs == "nothing"]
    lines += [
        "",
        "`porter COMMAND --help` describes a command and ends in examples. Before the",
        "command may stand --version and --verbose (show in full what git and pip",
        "printed), there or after it --root DIR (the project, a folder with",
        "upstream_pins.yaml; default: the one around this folder, or a tree's own).",
        *wrap(f"Without a project there are only {_and(free)}.", 80),
        "Exit codes: 0 fine, 1 a check or verification failed, 2 usage or bad input,",
        "3 internal error (bug in porter), 130 interrupted.",
    ]
    return "\n".join(lines)


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


class _Page(argparse.HelpFormatter):
    """A help page as wide as the terminal; argparse alone would import shutil."""

    def __init__(self, prog: str) -> None:
        try:
            width = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (OSError, ValueError):
            width = 80
        super().__init__(prog, width=max(width - 2, 40))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keep the lines of the examples as they are."""
        return text if text.startswith(_EXAMPLES) else super()._fill_text(text, width, indent)


def _find_command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    import difflib

    near = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`porter --help` lists the commands"
    raise PorterError(f"no command {name!r}; {hint}")


def _split_global_options(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return (the root given before the command or None, the rest); take --verbose out."""
    rest = list(argv)
    root: str | None = None
    while rest and rest[0].startswith(("--root", "--verbose")):
        flag, _, value = rest.pop(0).partition("=")
        if flag == "--verbose" and not value:
            os.environ[VERBOSE] = "1"
            continue
        if flag != "--root":
            raise PorterError(f"no option {flag!r}; `porter --help` lists them")
        if not value:
            if not rest:
                raise PorterError("--root: expected a folder, found the end of the command line")
            value = rest.pop(0)
        root = value
    return root, rest


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    root, rest = _split_global_options(argv)
    _set_root(root)
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_overview())
        return Exit.OK if rest else Exit.USAGE
    if rest[0] in ("-V", "--version"):
        print(f"porter {__version__}")
        return Exit.OK
    command = _find_command(rest[0])
    args = parse(make_parser(command), rest[1:])
    _set_root(args.root)
    code: int = _module(command).run(args)
    return code


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Parse a command's arguments; operands may stand before, between and after options."""
    if parser.get_default("command_line") is not None and "--" in words:
        at = words.index("--")
        found = parse(parser, words[:at])
        found.command_line = words[at + 1 :]
        return found
    script = any(action.nargs == argparse.REMAINDER for action in parser._actions)
    if script or not {"-h", "--help"}.isdisjoint(words):  # neither may be parsed in two passes
        return parser.parse_args(words)
    return parser.parse_intermixed_args(words)


def make_parser(command: Command) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    parser = argparse.ArgumentParser(prog=f"porter {command.name}", formatter_class=_Page)
    _fill(parser, command)
    return parser


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give a command's parser its own arguments, those that all have, and the examples."""
    module = _module(command)
    parser.description = module.__doc__
    parser.set_defaults(command=command.name, writes=command.writes)
    parser.add_argument("--root", metavar="DIR", help="the project (default: the one around here)")
    module.add_arguments(parser)
    parser.epilog = "\n".join(
        [_EXAMPLES, *(f"  {line}\n      {text}" for line, text in examples(command))]
    )


def examples(command: Command) -> list[tuple[str, str]]:
    """Return the command lines that end a command's help, each with what it does.

    A module of two commands holds the examples of both.
    """
    own = re.compile(rf"\bporter {command.name}\b")
    return [(line, text) for line, text in _module(command).EXAMPLES if own.search(line)]


def _module(command: Command) -> ModuleType:
    return importlib.import_module(f"porter.commands.{command.module}")


def _parser_for(name: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command; without one (or with a wrong name), of all their names."""
    if own := [command for command in COMMANDS if command.name == name]:
        return make_parser(own[0])
    parser = argparse.ArgumentParser(prog="porter")
    for option in ("--version", "--verbose"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--root", metavar="DIR")
    if name is None:
        commands = parser.add_subparsers()
        for command in COMMANDS:
            commands.add_parser(command.name, help=command.help)
    return parser


def _set_root(root: str | None) -> None:
    """Let ``--root`` take effect, in processes that this one starts too."""
    if root is not None:
        from pathlib import Path

        os.environ["PORTER_ROOT"] = str(Path(root).expanduser().absolute())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    if argv is None:  # garbage collection took a fifth of a short command (mypy does this too)
        gc.set_threshold(200_000, 30, 30)
    try:
        if "_ARGCOMPLETE" in os.environ:  # a shell asks
            from porter.commands.completion import answer

            answer(_parser_for)
        return run(sys.argv[1:] if argv is None else argv)
    except PorterError as error:
        print(f"porter: {error}", file=sys.stderr)
        if verbose_asked():
            for line in error.detail.splitlines():
                print(f"  {line}", file=sys.stderr)
        return int(error.code)
    except KeyboardInterrupt:
        print("porter: interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe: not an error. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except OSError as error:
        # A full disk, a read-only folder, a missing permission: the machine, not a bug.
        where = f"{error.filename}: " if error.filename else ""
        print(f"porter: {where}{error.strerror or error}", file=sys.stderr)
        return int(Exit.USAGE)
    except Exception:
        from porter.crash import write_crash_log

        path = write_crash_log(sys.argv if argv is None else ["porter", *argv])
        print(f"porter: internal error (bug in porter); log: {path}", file=sys.stderr)
        return int(Exit.BUG)
