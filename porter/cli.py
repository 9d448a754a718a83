"""The command line: parse, run one command, print its error in one line.

Exit codes are :class:`porter.errors.Exit`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from porter import __version__
from porter.commands import COMMANDS, Command
from porter.errors import VERBOSE, Exit, PorterError, verbose_asked

_DESCRIPTION = "Patch-based porting of PyTorch models: pins, patch levels, verified parity."


def _overview() -> str:
    """Return the help page: every command under its heading, one line each."""
    lines = ["usage: porter COMMAND [ARGUMENTS]", "", _DESCRIPTION]
    width = max(len(command.name) for command in COMMANDS)
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines += ["", f"{group}:"]
        lines += [f"  {c.name:<{width}}  {c.help}" for c in COMMANDS if c.group == group]
    lines += [
        "",
        "`porter COMMAND --help` describes a command. Options before the command: --version,",
        "--root DIR (the folder with upstream_pins.yaml; default: found upwards from here),",
        "--verbose (show in full what git and pip printed).",
        "Exit codes: 0 fine, 1 a check or verification failed, 2 usage or bad input,",
        "3 internal error (bug in porter), 130 interrupted.",
    ]
    return "\n".join(lines)


def _page(prog: str) -> argparse.HelpFormatter:
    """Return a formatter as wide as the terminal; argparse alone would import shutil."""
    try:
        width = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (OSError, ValueError):
        width = 80
    return argparse.HelpFormatter(prog, width=max(width - 2, 40))


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
    if root is not None:
        os.environ["PORTER_ROOT"] = root
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_overview())
        return Exit.OK if rest else Exit.USAGE
    if rest[0] in ("-V", "--version"):
        print(f"porter {__version__}")
        return Exit.OK
    command = _find_command(rest[0])
    module: ModuleType = importlib.import_module(f"porter.commands.{command.module}")
    parser = argparse.ArgumentParser(
        prog=f"porter {command.name}", description=module.__doc__, formatter_class=_page
    )
    parser.set_defaults(command=command.name)
    module.add_arguments(parser)
    # Options between positional arguments; argparse alone ends a list of them at an option.
    mixed = getattr(module, "INTERMIXED", False)
    args = (parser.parse_intermixed_args if mixed else parser.parse_args)(rest[1:])
    code: int = module.run(args)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    if argv is None:  # garbage collection took a fifth of a short command (mypy does this too)
        gc.set_threshold(200_000, 30, 30)
    try:
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
