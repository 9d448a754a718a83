"""Hooks and workflows for other repositories name existing commands and all that porter needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from porter.cli import main
from porter.commands import COMMANDS

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
NOT_FOR_PATCHES = {"argcomplete", "identify", "Jinja", "numpy", "pip", "safetensors", "torch"}
"""What only `porter add`, completion, probes and reports on them need (pip is always there)."""
THEIR_OWN_NEEDS = {"markdown-it-py", "mdurl", "pygments", "gitdb", "smmap"}
"""What rich and GitPython depend on."""


def patch_half_needs() -> set[str]:
    """Read porter's own dependencies that are not for patches."""
    text = (PROJECT / "pyproject.toml").read_text()
    listed = text.split("\ndependencies = [")[1].split("\n]")[0]
    return set(re.findall(r'"([A-Za-z-]+)', listed)) - NOT_FOR_PATCHES


def hooks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())
    return found


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: str(hook["id"]))
def test_a_hook_runs_a_command_that_exists_and_brings_what_it_imports(hook: dict[str, Any]) -> None:
    program, command, *arguments = hook["entry"].split()

    assert (program, hook["language"], hook["pass_filenames"]) == ("porter", "python", False)
    assert command in {known.name for known in COMMANDS}
    with pytest.raises(SystemExit) as ended:
        main([command, *arguments, "--help"])
    assert ended.value.code == 0
    needs = set(hook["additional_dependencies"])
    assert needs == {"--no-deps"} | patch_half_needs() | THEIR_OWN_NEEDS
    assert all(re.search(hook["files"], f) for f in ("a/patches/p/series", "upstream_pins.yaml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_grants_no_more_than_reading(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)

    assert workflow["permissions"] == {"contents": "read"}
    assert re.findall(r"uses: \S+@(?![0-9a-f]{40}  # v\d)", text) == []
    installs = re.findall(r"^ *(?:run: )?pip install (?!--no-deps).*(?:\n.*unidiff)?", text, re.M)
    installs = [install for install in installs if " -e ." not in install]  # that installs all
    assert installs or "pip install -c constraints.txt -e" in text
    assert all(need in install for install in installs for need in patch_half_needs())


def test_workflows_start_only_commands_that_exist() -> None:
    started = {
        word
        for path in WORKFLOWS
        for word in re.findall(r"(?:run: |\n +)porter ([a-z]+)", path.read_text())
    }

    assert {"lint", "check", "verify", "matrix"} <= started <= {known.name for known in COMMANDS}


def test_the_python_versions_tested_are_those_that_porter_takes() -> None:
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text())
    text = (PROJECT / "pyproject.toml").read_text()
    low, high = map(int, re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text)[0])

    tested = workflow["jobs"]["patch-half"]["strategy"]["matrix"]["python"]

    assert tested == [f"3.{minor}" for minor in range(low, high)]
    assert sys.version_info[1] in range(low, high)


def test_the_readme_has_exactly_the_two_command_lines_that_ci_runs() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / ".ci" / "readme_lines.py"],
        capture_output=True,
        text=True,
        check=True,
    )

    first, second = done.stdout.splitlines()
    start = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e "
    assert first == f"{start}. && porter check && porter verify --tag smoke"
    assert second == f"{start}'.[dev]' && pytest -n 2"
    assert {first, second} <= {line.strip() for line in README.splitlines()}


@pytest.mark.parametrize(
    "change", [lambda text: text * 2, lambda text: text.replace("-m venv", "")]
)
def test_another_number_of_command_lines_in_the_readme_stops_ci(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(PROJECT / ".ci" / "readme_lines.py", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(change(README))

    done = subprocess.run([sys.executable, script], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("README.md: expected two lines `python3 -m venv ...`, found ")


def test_ci_runs_both_lines_with_and_without_git_hosts() -> None:
    text = (PROJECT / ".ci" / "run").read_text()

    assert "mapfile -t readme < <(python3 .ci/readme_lines.py)" in text
    assert re.findall(r"for line in 0 1; do\n.*\n +(?:GIT_\S+ )*readme_line (\S+)", text) == [
        "cut-off",
        "own",
    ]
    assert subprocess.run(["bash", "-n", PROJECT / ".ci" / "run"]).returncode == 0
