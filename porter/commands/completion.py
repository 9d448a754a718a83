"""Print the script that completes porter's commands in a shell: names of commands and options, and
ports, levels, recipes, tags and devices of the project here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from porter.errors import Exit, PorterError

if TYPE_CHECKING:
    from pathlib import Path

    from porter.upstream.pins import Pins

EXAMPLES = (
    ('eval "$(porter completion bash)"', "complete in this bash; the line for ~/.bashrc"),
    ('eval "$(porter completion zsh)"', "the same for ~/.zshrc, after compinit"),
    ("porter completion fish | source", "the same for ~/.config/fish/config.fish"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to print it for")


def run(args: argparse.Namespace) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["porter"], shell=args.shell))
    return Exit.OK


def answer(make_parser: Callable[[str | None], argparse.ArgumentParser]) -> None:
    """Answer a shell that asks for completions, as argcomplete's scripts do, and end the process.

    ``make_parser`` gets the name of the command on the line, None before there is one. What an
    argument is completed by follows from its metavar, which means the same in every command.
    """
    import argcomplete
    from argcomplete.completers import ChoicesCompleter, DirectoriesCompleter, FilesCompleter
    from argcomplete.lexers import split_line

    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    at, root = _command_at(words)
    if root is not None:
        os.environ["PORTER_ROOT"] = root
    if at is not None:  # argcomplete begins at this word, counted from 1
        os.environ["_ARGCOMPLETE"] = str(at + 1)
    parser = make_parser(None if at is None else words[at])
    by_metavar: dict[str, Any] = {
        "DIR": DirectoriesCompleter(),
        "FILE": FilesCompleter(),
        **{name: _quietly(names) for name, names in _NAMES.items()},
    }
    for action in parser._actions:
        if completer := by_metavar.get(str(action.metavar)):
            action.completer = completer  # type: ignore[attr-defined]
        argcomplete.safe_actions.add(type(action))  # type: ignore[attr-defined]
    argcomplete.autocomplete(
        parser, always_complete_options=False, default_completer=ChoicesCompleter({})
    )


def _command_at(words: list[str]) -> tuple[int | None, str | None]:
    """Return where in a line the command stands, if it does, and the root given anywhere."""
    at, root, position = None, None, 1
    while position < len(words):
        option, equals, value = words[position].partition("=")
        if option == "--root":
            if not equals:
                position += 1
                value = words[position] if position < len(words) else ""
            root = value or None
        elif at is None and not option.startswith("-"):
            at = position
        position += 1
    return at, root


def _quietly(names: Callable[[argparse.Namespace], Iterable[str]]) -> Callable[..., list[str]]:
    """Return a completer: a broken project completes nothing, and prints nothing."""

    def complete(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        try:
            return list(names(parsed_args))
        except (PorterError, OSError):
            return []

    return complete


def _project(args: argparse.Namespace) -> Path:
    from porter.tree.tree import project_of, tree_around

    return project_of(tree_around(getattr(args, "dir", None)))


def _pins(args: argparse.Namespace) -> Pins:
    from porter.upstream.pins import load_pins

    return load_pins(_project(args))


def _ports(args: argparse.Namespace) -> Iterable[str]:
    return _pins(args).pins


def _chosen(args: argparse.Namespace) -> list[str]:
    """Return the ports on the command line, else the tree's, else all with a series."""
    from porter.tree.tree import tree_around

    port = getattr(args, "port", None)
    if named := [*(getattr(args, "ports", None) or ()), *([port] if port else ())]:
        return named
    levels = [word for word in getattr(args, "levels", None) or () if word in _pins(args).pins]
    if levels:  # `compare PORT LEVEL LEVEL`
        return levels[:1]
    tree = tree_around(getattr(args, "dir", None))
    return [tree.record.port] if tree else [pin.name for pin in _pins(args).ports()]


def _levels(args: argparse.Namespace) -> Iterable[str]:
    from porter.places import patches_dir
    from porter.series.series import SERIES_FILE, read_series_file

    root, found = _project(args), {"upstream": None}
    for port in _chosen(args):
        lines = read_series_file(patches_dir(root, port) / SERIES_FILE)[0]
        names = (line.name.partition("-")[2].removesuffix(".patch") for line in lines)
        found |= dict.fromkeys(names)
    return found


def _recipe_files(args: argparse.Namespace) -> Iterator[Path]:
    from porter.places import recipes_dir

    root = _project(args)
    for port in _chosen(args):
        yield from sorted(recipes_dir(root, port).glob("*.yaml"))


def _recipes(args: argparse.Namespace) -> Iterable[str]:
    return dict.fromkeys(path.stem for path in _recipe_files(args))


def _tags(args: argparse.Namespace) -> Iterable[str]:
    from porter.verify.recipe.load import load_recipe

    return {tag for path in _recipe_files(args) for tag in load_recipe(path).recipe.tags}


def _devices(_: argparse.Namespace) -> Iterable[str]:
    from porter.device import DEVICES

    return DEVICES


def _rules(_: argparse.Namespace) -> Iterable[str]:
    from porter.scan.rules.registry import RULES

    return RULES


_NAMES = {
    "PORT": _ports,
    "LEVEL": _levels,
    "OTHER": _levels,
    "RECIPE": _recipes,
    "TAG": _tags,
    "DEVICE": _devices,
    "RULE": _rules,
}
