"""Outputs shown in README.md and docs/ are what their commands print (``.ci/doc_outputs.py``)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from porter.upstream.pins import load_pins
from tests.conftest import PROJECT
from tests.served import Served

_PAGE = """# A page

    $ echo one; echo 1.5 s
    two
    3.7 s
    $ cat made.txt
    its own text
    $ seq 5
    1
    ...
    50

Not an output.
"""
_NEW = _PAGE.replace("two\n", "one\n").replace("50\n", "5\n")


def doc_outputs(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT / ".ci" / "doc_outputs.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


_WITH_OUTPUTS = re.compile(r"^(?: {4})?\$ |<!-- output:", re.M)
PAGES = [
    page
    for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md")))
    if _WITH_OUTPUTS.search(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_outputs_that_need_no_upstream_are_as_shown(page: Path) -> None:
    done = doc_outputs(page)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.upstream
def test_the_readmes_tour_is_as_shown(served: Served) -> None:
    pins = load_pins(PROJECT)
    port = pins.port("v-diffusion")
    for pin in (port, *pins.beside(port)):
        served.upstream(pin.name, *pin.wanted)

    done = doc_outputs("README.md")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_another_output_is_told_by_page_and_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(_PAGE)

    done = doc_outputs(page)

    assert done.returncode == 1
    assert f"{page}:3: $ echo one; echo 1.5 s\n" in done.stdout
    assert "    -two\n    +one\n" in done.stdout
    assert "    -50\n    +5\n" in done.stdout
    assert "3 outputs made, 2 differ" in done.stdout


def test_write_keeps_durations_and_gaps_and_ends_in_a_right_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(_PAGE)

    assert doc_outputs("--write", page).returncode == 0

    assert page.read_text() == _NEW
    assert doc_outputs(page).returncode == 0


def test_a_command_that_takes_minutes_needs_its_comment(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("    $ porter verify\n    1 recipe passed\n")

    done = doc_outputs(page)

    assert done.returncode == 2
    assert f"{page}:1: takes minutes" in done.stderr


def test_slow_outputs_and_those_left_out_are_listed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    slow = "<!-- output: slow (a minute) -->\n\n    $ false\n    no\n"
    out = "\n<!-- output: left out: wants a card -->\n\n    $ false\n    no\n"
    page.write_text(slow + out)

    done = doc_outputs(page)

    assert f"{page}:3: slow (a minute), made with --slow" in done.stdout
    assert f"{page}:8: left out: wants a card" in done.stdout


def test_a_block_without_commands_is_what_its_comment_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- output: quick\nbefore: x=7\ncommand: echo $x\n-->\n\n    6\n")

    assert doc_outputs("--write", page).returncode == 0

    assert page.read_text().endswith("\n    7\n")
