"""``porter compare`` with a folder in a level's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli import main
from tests.plain_upstream import git
from tests.small_port import SmallPort
from tests.verify.foreign.conftest import CODE

WRONG = CODE.replace("x * 2", "x * 3")


def test_a_folder_is_compared_with_upstream_on_a_device_of_its_own(
    small: SmallPort, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "code_of.py").write_text(WRONG)

    assert main(["compare", "small", "upstream@cpu", f"{folder}@sim:hpu"]) == 1

    printed = capsys.readouterr().out
    head = "small/forward: tree:fork on sim:hpu against upstream on cpu, float32, seed 0"
    assert printed.splitlines()[0] == head
    assert "code_of.py:2" in printed


def test_a_revision_is_compared_with_a_level(
    small: SmallPort, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "right")
    (folder / "code_of.py").write_text(WRONG)

    assert main(["compare", "small", "two", f"{folder}@HEAD", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"]["name"], found["second"]["name"]) == ("two", "tree:fork@HEAD")
    assert main(["compare", "small", str(folder), "two"]) == 1
    assert "two against tree:fork on cpu" in capsys.readouterr().out


def test_a_levels_name_is_the_level_and_two_folders_are_too_many(
    small: SmallPort,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    (folder / "one").mkdir()

    assert main(["compare", "small", "upstream", "one"]) == 0
    assert "one against upstream" in capsys.readouterr().out
    assert main(["compare", "small", ".", "./one"]) == 2
    assert "found two folders" in capsys.readouterr().err
