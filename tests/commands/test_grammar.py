"""Every command, present and to come: its examples, its help, how it spells PORT, LEVEL and DIR."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

import porter
from porter.cli import examples, main, make_parser, parse
from porter.commands import COMMANDS, Command

every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def own_arguments(line: str) -> list[str]:
    """Return the arguments of the first porter in an example, up to what the shell does with it."""
    words = shlex.split(line)
    if words[0] == "eval":
        words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
    end = next((at for at, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
    assert words[0] == "porter"
    return words[1:end]


def parsed(command: Command, line: str) -> argparse.Namespace:
    name, *arguments = own_arguments(line)
    assert name == command.name
    return parse(make_parser(command), arguments)


@every_command
def test_every_command_has_examples_that_parse(command: Command) -> None:
    given = examples(command)

    assert 2 <= len(given) <= 4
    for line, text in given:
        assert parsed(command, line).command == command.name
        assert text[0].islower()
        assert not text.endswith(".")


@every_command
def test_help_ends_in_the_examples_within_80_columns(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command.name, "--help"])
    out = capsys.readouterr().out

    assert max(map(len, out.splitlines())) <= 80
    ending = out.partition("\nexamples:\n")[2].splitlines()
    assert ending == [part for a, b in examples(command) for part in (f"  {a}", f"      {b}")]


def test_the_overview_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@every_command
def test_ports_levels_and_folders_are_spelt_alike(command: Command) -> None:
    actions = make_parser(command)._actions
    options = {option: action for action in actions for option in action.option_strings}
    operands = {action.dest: action for action in actions if not action.option_strings}

    for dest in ("port", "ports"):
        if dest in operands or "--port" in options:
            assert options["--port"].metavar == "PORT"
            assert options["-C"].metavar == "DIR"
        if dest in operands:
            assert operands[dest].metavar == "PORT"
            assert operands[dest].nargs in ("?", "*")  # a tree knows its port
            assert operands[dest].dest == options["--port"].dest
    for action in actions:
        if action.metavar == "LEVEL":
            options_of = action.option_strings
            # A tree is judged as a level; what is of one level is tried at another.
            assert not options_of or "--level" in options_of or options_of in (["--as"], ["--at"])
    if "--level" in options:
        assert options["--level"].metavar == "LEVEL"
        assert "-l" in options["--level"].option_strings
    if "dir" in operands:
        assert operands["dir"].metavar == "DIR"
        assert options["-C"].dest == "dir"
    assert options["--root"].metavar == "DIR"


@every_command
@pytest.mark.parametrize(
    ("option", "metavar"), [("--recipe", "RECIPE"), ("--tag", "TAG"), ("--device", "DEVICE")]
)
def test_what_completion_knows_has_one_name(command: Command, option: str, metavar: str) -> None:
    for action in make_parser(command)._actions:
        if option in action.option_strings:
            assert action.metavar == metavar or action.choices


def test_operands_may_stand_between_options() -> None:
    by_name = {command.name: command for command in COMMANDS}

    apply = parsed(by_name["apply"], "porter apply v-diffusion --level 2 work")
    verify = parsed(by_name["verify"], "porter verify a --tag smoke b --port c")
    goto = parsed(by_name["goto"], "porter goto -C work 3")

    assert (apply.port, apply.dir, apply.level) == ("v-diffusion", "work", "2")
    assert sorted(verify.ports) == ["a", "b", "c"]
    assert (goto.dir, goto.level) == ("work", "3")


@pytest.mark.parametrize("line", ["log a --port b", "goto 3 work -C other", "export a b -C c"])
def test_one_thing_named_twice_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(line.split())

    assert stop.value.code == 2
    assert "found two" in capsys.readouterr().err


def row(command: Command) -> str:
    """Return a command's line of the table in docs/commands.md, as its parser has it."""
    actions = make_parser(command)._actions
    options = {option for action in actions for option in action.option_strings}
    form = make_parser(command).formatter_class(prog="")
    operands = [
        form._format_args(action, form._get_default_metavar_for_positional(action))
        if action.nargs != argparse.REMAINDER
        else "-- SCRIPT ..."
        for action in actions
        if not action.option_strings
    ]
    if make_parser(command).get_default("command_line") is not None:
        operands.append("[-- COMMAND]")
    given = ["yes" if option in options else "" for option in ("--port", "-C", "--level")]
    given.append("yes" if command.writes else "")
    given.append("" if command.needs == "project" else "no project")
    return " | ".join([f"| `{' '.join([command.name, *operands])}`", *given]) + " |"


@every_command
def test_the_page_of_commands_has_the_row_that_the_parser_gives(command: Command) -> None:
    page = (Path(porter.__file__).parent.parent / "docs" / "commands.md").read_text("utf-8")

    assert " ".join(row(command).split()) in " ".join(page.split())
