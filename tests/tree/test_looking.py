"""The output of read-only commands: text at 80 columns, and JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.small_project import sealed_git, write_files
from tests.tree.conftest import Porter


def test_list_names_ports_pins_and_needs(project: Path, porter: Porter) -> None:
    rows = [line.split() for line in porter("list").out.splitlines()]
    assert rows[0] == ["PORT", "PATCHES", "PIN", "LICENCE", "NEEDS"]
    assert rows[1][0:2] == ["toy", "3"]
    assert rows[1][3:] == ["MIT", "LIB,", "mate"]


def test_missing_licence_is_none_stated(project: Path, porter: Porter) -> None:
    assert "none stated" in porter("list").out
    mate = next(p for p in json.loads(porter("list", "--json").out) if p["port"] == "mate")
    assert mate["license"] == "none stated"


def test_list_works_without_a_store(
    project: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "nothing"))
    assert porter("list").code == 0
    assert not (tmp_path / "nothing").exists()


def test_log_marks_the_level_of_the_tree(toy: Path, porter: Porter) -> None:
    porter("goto", "1", toy)
    rows = porter("log", toy).out.splitlines()
    assert [row[:3] for row in rows if row[2:3].isdigit()] == ["  0", "* 1", "  2", "  3"]


def test_log_of_a_port_needs_no_tree(project: Path, porter: Porter) -> None:
    value = json.loads(porter("log", "toy", "--json").out)
    assert [level["number"] for level in value["levels"]] == [0, 1, 2, 3]
    assert len(value["levels"][3]["tree"]) == 40
    assert "did you mean 'toy'" in porter("log", "toyy").err


LOOKS = [["list"], ["log"], ["status"], ["show", "2", "--stat"], ["show", "0"]]


@pytest.mark.parametrize("command", LOOKS)
def test_output_fits_80_columns_and_has_no_colour_in_a_pipe(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(toy)
    write_files(toy, {"README.md": "mine\n", "new.txt": "n\n"})
    ran = porter(*command)
    assert ran.code == 0
    assert "\x1b" not in ran.out
    facts = [line for line in ran.out.splitlines() if "/" not in line and len(line.split()) > 2]
    assert all(len(line) <= 80 for line in facts)


def test_no_color_wins_over_force_color(
    toy: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in porter("log", toy).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in porter("log", toy).out


def test_status_lists_edits_and_what_comes_next(toy: Path, porter: Porter) -> None:
    porter("goto", "2", toy)
    write_files(toy, {"README.md": "mine\n", "pkg/mine.py": "m\n"})
    (toy / "tools" / "run.sh").unlink()
    text = porter("status", toy).out
    assert "level 2 of 3: add-new" in text
    assert "next:  3 drop-old" in text
    for line in ("  M  README.md", "  D  tools/run.sh", "  ?  pkg/mine.py"):
        assert line in text.splitlines()


def test_status_as_json_holds_the_same(toy: Path, porter: Porter) -> None:
    write_files(toy, {"README.md": "mine\n"})
    value = json.loads(porter("status", toy, "--json").out)
    assert (value["port"], value["level"]) == ("toy", {"number": 3, "name": "drop-old"})
    assert value["edits"] == [{"path": "README.md", "status": "M", "staged": False}]
    assert value["submodules"] == {"LIB": {"populated": True, "reason": ""}}


def test_status_counts_commits_of_ones_own(toy: Path, porter: Porter) -> None:
    sealed_git(toy, "commit", "--quiet", "--allow-empty", "-m", "mine")
    assert "1 commit after it" in porter("status", toy).out


def test_show_gives_header_stat_and_diff(toy: Path, porter: Porter) -> None:
    text = porter("show", "add", "-C", toy).out
    for piece in (
        "level 2 of 3: add-new",
        "Add a new file",
        "Gains: a level",
        "pkg/new.py",
        "+new = 1",
    ):
        assert piece in text
    assert "+new = 1" not in porter("show", "add", "-C", toy, "--stat").out


def test_show_without_a_tree_takes_a_port(project: Path, porter: Porter) -> None:
    value = json.loads(porter("show", "2", "--port", "toy", "--json").out)
    assert [(f["path"], f["added"], f["removed"]) for f in value["files"]] == [
        ("pkg/b.py", 1, 1),
        ("pkg/new.py", 1, 0),
    ]
    assert "MIT" in porter("show", "upstream", "--port", "toy").out


def test_control_characters_of_a_header_do_not_reach_the_terminal(
    toy: Path, porter: Porter, project: Path
) -> None:
    patch = project / "patches" / "toy" / "0001-widen-a.patch"
    patch.write_text(patch.read_text().replace("Because", "\x1b[31mBecause"))
    assert "\x1b" not in porter("show", "1", "-C", toy).out


def test_diff_between_levels_can_be_applied(toy: Path, porter: Porter) -> None:
    porter("goto", "0", toy)
    diff = porter("diff", "0", "2", "-C", toy).out
    subprocess.run(["git", "apply"], cwd=toy, input=diff.encode(), check=True)
    assert (toy / "pkg" / "new.py").read_text() == "new = 1\n"


def test_diff_of_one_level_is_against_the_files(toy: Path, porter: Porter) -> None:
    write_files(toy, {"README.md": "mine\n"})
    assert porter("diff", "-C", toy).out.count("diff --git") == 1
    assert porter("diff", "2", "-C", toy).out.count("diff --git") == 3
    assert porter("diff", "1", "3", "--port", "toy").out.count("diff --git") == 4


def test_stat_leaves_the_diff_out(toy: Path, porter: Porter) -> None:
    text = porter("diff", "0", "2", "-C", toy, "--stat").out
    assert "3 files changed" in text
    assert "diff --git" not in text


def test_diff_needs_levels_when_there_is_no_tree(project: Path, porter: Porter) -> None:
    assert "expected two levels of toy" in porter("diff", "1", "--port", "toy").err
