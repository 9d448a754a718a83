"""`porter init` makes a project that every other command takes, and changes no existing file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from porter.project.init import IGNORED, PRE_COMMIT, WORKFLOW, make_project
from porter.schemas import SCHEMAS, schema_text
from porter.upstream.pins import load_pins
from tests.conftest import PROJECT
from tests.project.conftest import Porter
from tests.small_project import sealed_git, snapshot


def test_an_empty_folder_becomes_a_project(tmp_path: Path, porter: Porter) -> None:
    done = porter("init", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "made  upstream_pins.yaml\n" in done.out
    assert done.out.endswith("this folder is now a porter project; next: `porter add URL`\n")
    assert dict(load_pins(tmp_path).pins) == {}
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        ".porter", "migration_logs", "patches", "recipes",
    }  # fmt: skip
    assert (tmp_path / "recipes" / "environments").is_dir()
    assert porter("list", cwd=tmp_path).out == f"no ports: {tmp_path}/patches holds no series\n"
    assert porter("check", cwd=tmp_path).code == 0


def test_the_pins_file_names_a_schema_that_is_in_the_project(tmp_path: Path) -> None:
    list(make_project(tmp_path))
    first = (tmp_path / "upstream_pins.yaml").read_text().splitlines()[0]
    named = tmp_path / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(named.read_text()) == json.loads(schema_text("pins"))
    assert (tmp_path / ".porter" / SCHEMAS["recipe"][2]).read_text() == schema_text("recipe")


def test_existing_files_are_kept_and_said(tmp_path: Path, porter: Porter) -> None:
    mine = {".gitignore": "*.pyc\n", "patches/note.txt": "x\n", "README.md": "mine\n"}
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = porter("init", cwd=tmp_path)
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert "kept  .gitignore" in done.out
    assert "echo /trees/ >> .gitignore" in " ".join(done.out.split())
    assert "kept  patches\n" in done.out


def test_a_project_says_that_it_is_one_and_gets_what_it_lacks(
    tmp_path: Path, porter: Porter
) -> None:
    porter("init", cwd=tmp_path)
    (tmp_path / ".gitignore").unlink()
    before = snapshot(tmp_path)
    done = porter("init", "--pre-commit", cwd=tmp_path)
    assert done.code == 0
    assert done.out.endswith("this folder is a porter project already\n")
    made = [line.split()[1] for line in done.out.splitlines() if line.startswith("made")]
    assert made == [".gitignore", ".pre-commit-config.yaml"]
    assert before.items() <= snapshot(tmp_path).items()


def test_an_old_schema_is_kept_and_the_command_that_renews_it_works(
    tmp_path: Path, porter: Porter
) -> None:
    porter("init", cwd=tmp_path)
    schema = tmp_path / ".porter" / "upstream_pins.schema.json"
    schema.write_text("{}\n")
    said = " ".join(porter("init", cwd=tmp_path).out.split())
    assert schema.read_text() == "{}\n"
    assert "`porter schema pins > .porter/upstream_pins.schema.json` renews it" in said


def test_git_ignores_the_trees_of_a_new_project(tmp_path: Path) -> None:
    sealed_git(tmp_path, "init", "--quiet")
    list(make_project(tmp_path / "ports"))
    for path in ("trees/m", "porter-report.html", "recipes/m/__pycache__/x.pyc"):
        assert sealed_git(tmp_path, "check-ignore", f"ports/{path}")
    assert set(IGNORED) <= set((tmp_path / "ports" / ".gitignore").read_text().splitlines())


def test_the_workflow_and_the_hooks_are_those_of_the_page() -> None:
    page = (PROJECT / "docs" / "ci.md").read_text()
    for text in (WORKFLOW, PRE_COMMIT):
        assert "".join(f"    {line}\n" if line else "\n" for line in text.splitlines()) in page


def test_in_a_repositorys_subfolder_its_files_stand_at_the_top(
    tmp_path: Path, porter: Porter
) -> None:
    sealed_git(tmp_path, "init", "--quiet")
    done = porter("init", "my ports", "--ci", "--pre-commit", cwd=tmp_path)
    assert "replace HOST, OWNER and COMMIT" in " ".join(done.out.split())
    workflow = yaml.safe_load((tmp_path / ".github/workflows/porter.yml").read_text())
    assert workflow["jobs"]["porter"]["with"]["project"] == "my ports"
    hooks = yaml.safe_load((tmp_path / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == [
        "porter --root 'my ports' lint --files-only",
        "porter --root 'my ports' check --strict",
    ]
    assert not (tmp_path / "my ports" / ".github").exists()


def test_they_name_the_commit_that_porter_was_installed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = ("https://h.org/me/porter.git", "ab" * 20)
    monkeypatch.setattr("porter.project.init._origin", lambda: origin)
    steps = list(make_project(tmp_path, ci=True, pre_commit=True))
    assert not any(step.note for step in steps)
    workflow = yaml.safe_load((tmp_path / ".github/workflows/porter.yml").read_text())
    job = workflow["jobs"]["porter"]
    assert job["uses"] == f"me/porter/.github/workflows/port.yml@{origin[1]}"
    assert job["with"]["porter"] == f"porter @ git+{origin[0]}@{origin[1]}"
    repo = yaml.safe_load((tmp_path / ".pre-commit-config.yaml").read_text())["repos"][0]
    assert (repo["repo"], repo["rev"]) == origin


def test_a_file_in_the_way_is_an_error_of_one_line(tmp_path: Path, porter: Porter) -> None:
    (tmp_path / "patches").write_text("")
    done = porter("init", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("porter: ")
    assert done.err.count("\n") == 1
