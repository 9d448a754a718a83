"""Completion in real shells: what TAB offers, by the set-up line that the help shows."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from porter.cli import examples
from porter.commands import COMMANDS
from tests.tree.conftest import REPOSITORY, Porter

SET_UP = {shell: line for line, _ in examples(next(c for c in COMMANDS if c.name == "completion"))
          for shell in ("bash", "zsh", "fish") if f"completion {shell}" in line}  # fmt: skip

BASH = """
shopt -s progcomp
COMP_LINE={line} COMP_POINT=${{#COMP_LINE}} COMP_TYPE=9
COMP_WORDS=($COMP_LINE); [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
[[ $(complete -p porter) == *' -F '* ]] || exit 3
_python_argcomplete porter "${{COMP_WORDS[COMP_CWORD]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
_describe() {{ print -l -- ${{(P)2}} }}
BUFFER={line} CURSOR=${{#BUFFER}} words=(${{(z)BUFFER}})
_python_argcomplete
"""
FISH = "complete --do-complete {line}"


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``porter`` that a shell finds: this checkout's."""
    program = tmp_path / "bin" / "porter"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m porter "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def offered(shell: str, line: str) -> set[str]:
    """Return what a shell offers at the end of ``line``, without descriptions and blanks."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    quoted = shlex.quote(line)
    start, script = {
        "bash": (["bash", "--norc", "-c"], f"{SET_UP['bash']}\n{BASH.format(line=quoted)}"),
        "zsh": (
            ["zsh", "-f", "-c"],
            f"autoload -Uz compinit is-at-least && compinit -D -u\n{SET_UP['zsh']}\n"
            f"{ZSH.format(line=quoted)}",
        ),
        "fish": (["fish", "--no-config", "-c"], f"{SET_UP['fish']}\n{FISH.format(line=quoted)}"),
    }[shell]
    done = subprocess.run([*start, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    separator = ":" if shell == "zsh" else "\t"
    return {each.split(separator)[0].strip() for each in done.stdout.splitlines()} - {""}


every_shell = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


@pytest.mark.forms(1)
@every_shell
def test_commands_options_and_ports(shell: str, project: Path, on_path: None) -> None:
    assert offered(shell, "porter ch") == {"check"}
    assert offered(shell, "porter next --k") == {"--keep"}
    assert offered(shell, "porter check ") >= {"toy", "mate"}


@pytest.mark.forms(1)
@every_shell
def test_levels_are_those_of_the_tree_or_of_the_port_named(
    shell: str, toy: Path, project: Path, on_path: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORTER_ROOT")
    monkeypatch.chdir(toy)

    assert offered(shell, "porter goto ") == {"upstream", "widen-a", "add-new", "drop-old"}
    assert offered(shell, "porter show --port mate ") == {"upstream", "mate-two"}
    assert offered(shell, "porter verify mate --level mate-") == {"mate-two"}


RECIPE = """version: 1
title: what every level keeps
probe: some.py
levels: all
claims: [{outputs: "*", finite: {reason: a test}}]
tags: [quick, odd]
"""


@pytest.mark.forms(4)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("porter verify toy --tag o", {"odd"}),
        ("porter verify toy --recipe so", {"some"}),
        ("porter verify toy --device hp", {"hpu"}),
        ("porter run --device n", {"npu"}),
        ("porter completion ", {"bash", "zsh", "fish"}),
        ("porter check --format=j", {"json", "junit"}),
        ("porter --root nowhere check ", set()),
        ("porter compare mate up", {"upstream"}),
        ("porter log -C w", {"work/"}),
        ("porter nonsense ", set()),
    ],
)
def test_values_of_options(
    line: str, expected: set[str], toy: Path, project: Path, on_path: None
) -> None:
    folder = project / "recipes" / "toy"
    folder.mkdir(parents=True)
    (folder / "some.yaml").write_text(RECIPE)
    (folder / "some.py").touch()

    assert offered("bash", line) == expected


def test_a_set_up_line_for_every_shell(porter: Porter) -> None:
    assert sorted(SET_UP) == ["bash", "fish", "zsh"]
    for shell in SET_UP:
        assert "porter" in porter("completion", shell).out


def test_only_a_shell_that_asks_pays_for_completion() -> None:
    run = [sys.executable, "-X", "importtime", "-m", "porter", "--help"]
    done = subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True, text=True)

    assert "argcomplete" not in done.stderr
    assert "porter.commands.completion" not in done.stderr
