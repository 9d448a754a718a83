"""Which project a command works on: none by accident, and none but its own to write into."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from porter.commands import COMMANDS, Command
from tests.small_project import message
from tests.tree.conftest import Porter, Ran
from tests.tree.test_export import commit, patches

LEAST = {
    "add": ["owner/name"],
    "bisect": ["--recipe", "x"],
    "completion": ["bash"],
    "compare": ["0", "1"],
    "doctor": ["--offline"],
    "drop": ["1"],
    "fold": ["2"],
    "goto": ["1"],
    "import": ["some.patch"],
    "judge": ["toy"],
    "move": ["3", "--first"],
    "new": ["one-more"],
    "rename": ["1", "another"],
    "run": ["--device", "cpu", "--", "nothing.py"],
    "split": ["2", "half", "pkg/b.py"],
    "store": ["verify"],
    "bundle": ["-o", "x.bundle"],
    "cache": ["stats"],
}
"""The fewest arguments of a command that requires some."""

needs_project = pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.needs == "project"], ids=lambda each: each.name
)
needs_nothing = pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.needs == "nothing"], ids=lambda each: each.name
)
writers = pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.writes], ids=lambda each: each.name
)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, outside any project, as the working directory."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.delenv("PORTER_ROOT", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def other(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another project, as the working directory; nothing else says which one is meant."""
    folder = tmp_path / "other"
    shutil.copytree(project, folder)
    monkeypatch.delenv("PORTER_ROOT")
    monkeypatch.chdir(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


@needs_project
def test_outside_a_project_a_command_says_so_and_does_nothing(
    command: Command, nowhere: Path, porter: Porter
) -> None:
    ran = porter(command.name, *LEAST.get(command.name, ()))

    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert str(nowhere) in ran.err
    assert "--root DIR" in ran.err or "-C DIR" in ran.err
    assert list(nowhere.iterdir()) == []


@needs_nothing
def test_a_command_that_needs_no_project_does_without(
    command: Command, nowhere: Path, porter: Porter
) -> None:
    if command.name == "run":
        pytest.importorskip("torch")
    (nowhere / "nothing.py").touch()

    assert porter(command.name, *LEAST.get(command.name, ())).code == 0


def test_the_overview_says_what_needs_no_project(porter: Porter) -> None:
    out = " ".join(porter("--help").out.split())

    names = [each.name for each in COMMANDS if each.needs == "nothing"]
    assert f"Without a project there are only {', '.join(names[:-1])} and {names[-1]}" in out


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_root_names_a_project_from_anywhere(
    place: str, project: Path, nowhere: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv("PORTER_ROOT", "../project")
    line = {
        "before": ["--root", "../project", "list"],
        "after": ["list", "--root", "../project"],
        "environment": ["list"],
    }[place]
    ran = porter(*line)

    assert (ran.code, ran.err) == (0, "")
    assert "toy" in ran.out


def test_root_without_a_project_is_one_line(nowhere: Path, porter: Porter) -> None:
    ran = porter("check", "--root", "x")

    assert ran.code == 2
    assert ran.err == (
        f"porter: {nowhere / 'x'}: expected a folder with upstream_pins.yaml, found none\n"
    )


@pytest.mark.forms(5)
@writers
def test_a_writer_refuses_in_another_project_than_its_trees(
    command: Command, toy: Path, project: Path, other: Path, porter: Porter
) -> None:
    before = files(project), files(other)
    ran = porter(command.name, *LEAST.get(command.name, ()), "-C", toy)

    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert f"a tree of {project}, but the project here is {other}" in ran.err
    assert "--root DIR" in ran.err
    assert (files(project), files(other)) == before


@pytest.mark.forms(5)
@writers
def test_a_writer_in_a_tree_that_lies_in_another_project_refuses_too(
    command: Command, toy: Path, other: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(toy, other / "inside")
    monkeypatch.chdir(other / "inside")
    ran = porter(command.name, *LEAST.get(command.name, ()))

    assert ran.code == 2
    assert f"the project here is {other}" in ran.err


def written(command: Command, toy: Path, porter: Porter, *arguments: str | Path) -> Ran:
    """Run a writer where there is something to write."""
    commit(toy, message("say-more", "Say more"), **{"pkg__more.py": "more = 1\n"})
    return porter(command.name, *arguments)


series_writers = pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.name in ("export", "lock")], ids=lambda c: c.name
)


@series_writers
def test_a_tree_outside_any_project_writes_into_its_own_and_says_where(
    command: Command, toy: Path, project: Path, nowhere: Path, porter: Porter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(toy)
    before = patches(project)
    ran = written(command, toy, porter)

    assert ran.code == 0, ran.err
    assert str(project / "patches" / "toy") in ran.out
    assert patches(project) != before


@series_writers
def test_root_says_which_project_to_write_into(
    command: Command, toy: Path, project: Path, other: Path, porter: Porter
) -> None:
    before = patches(project)
    ran = written(command, toy, porter, "-C", toy, "--root", other)

    assert ran.code == 0, ran.err
    assert str(other / "patches" / "toy") in ran.out
    assert patches(project) == before != patches(other)


def test_export_as_json_names_the_folder_beside_it(
    toy: Path, project: Path, nowhere: Path, porter: Porter
) -> None:
    ran = porter("export", "-C", toy, "--json")

    assert ran.code == 0
    assert ran.err == f"porter: written to {project / 'patches' / 'toy'}\n"


def test_export_drop_deletes_nothing_in_a_project_elsewhere(
    toy: Path, project: Path, other: Path, porter: Porter
) -> None:
    assert porter("goto", "1", "-C", toy).code == 0
    before = patches(project)
    ran = porter("export", "toy", toy, "--drop")

    assert ran.code == 2
    assert patches(project) == before == patches(other)


def test_a_tree_of_a_project_that_is_gone_asks_for_root(
    toy: Path, project: Path, nowhere: Path, porter: Porter
) -> None:
    project.rename(project.parent / "moved")
    ran = porter("export", "-C", toy)

    assert ran.code == 2
    assert f"a tree of {project}, which is no project any more" in ran.err
    assert porter("export", "-C", toy, "--root", project.parent / "moved").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "toy at "),
        (["lint"], "toy: "),
        (["lock"], "toy/levels.lock"),
        (["log"], "toy in "),
        (["show"], "drop-old"),
        (["export"], "patches/toy"),
        (["fetch", "--offline"], "toy"),
        (["apply", "--level", "1"], "widen-a"),
        (["diff", "0", "1", "--stat"], "pkg/a.py"),
    ],
)
def test_in_a_tree_no_command_needs_port(
    arguments: list[str], said: str, toy: Path, nowhere: Path, porter: Porter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(toy / "pkg")
    ran = porter(*arguments)

    assert said in ran.out, ran.err


def test_ports_in_a_tree_are_its_own_and_elsewhere_all(
    toy: Path, project: Path, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = porter("lint", "--files-only").out
    in_tree = porter("lint", "--files-only", "-C", toy).out
    monkeypatch.chdir(toy)

    assert "toy: fit" in here
    assert "mate: fit" in here
    assert "toy: fit" in in_tree
    assert "mate: " not in in_tree
    assert porter("lint", "--files-only").out == in_tree


@pytest.mark.parametrize("command", ["lock", "mutate", "apply"])
def test_outside_a_tree_a_command_on_one_port_lists_the_ports(
    command: str, project: Path, porter: Porter
) -> None:
    ran = porter(command)

    assert ran.code == 2
    assert ran.err == (
        f"porter: {command}: expected PORT, found none and no tree here; the ports are toy, mate\n"
    )
