"""What a key hashes: every module that runs in a probe's process, every module that judges."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest

import porter
from porter.verify.cache import keys
from porter.verify.plan.matrix import RunSpec


def test_the_simulators_code_is_part_of_a_simulated_runs_key_only() -> None:
    assert keys.engine_hash(True) != keys.engine_hash(False)


def test_every_field_of_a_run_is_in_the_row_that_keys_of_verdicts_hold() -> None:
    spec = RunSpec(3, "sim:npu", "float16", 7, (("steps", "4"),), shaken=True)

    assert spec.row == dataclasses.astuple(spec)


PORTER = Path(porter.__file__).parent
STAGES = ("levels", "interception", "migrate", "device", "upstream", "series", "git")
JUDGING = ("judge", "judge.verdicts", "plan.matrix", "recipe.load", "rejudge")


@pytest.mark.parametrize("is_simulated", [False, True])
def test_every_module_that_a_run_imports_is_part_of_the_key(is_simulated: bool) -> None:
    parts = ["probe", "harness.main", "harness.subprocess_setup", "execution.forkserver_main"]
    starts = [f"porter.verify.{part}" for part in parts]
    starts += ["porter.device"]
    simulator = ("porter.device.sim", "porter.migrate", "porter.interception")

    reached = imported_by(starts, leave_out=() if is_simulated else simulator)

    assert len(reached) > len(starts)
    assert reached - {*keys.engine_files(is_simulated)} == set()


def test_every_module_that_judges_is_part_of_the_key() -> None:
    stages = tuple(f"porter.{name}" for name in STAGES)

    reached = imported_by([f"porter.verify.{name}" for name in JUDGING], leave_out=stages)

    allowed = {
        PORTER / f"{name}.py" for name in ("errors", "finding", "atomic", "places", "process")
    }
    assert len(reached) > len(JUDGING)
    assert reached - {*keys.judge_files()} <= allowed


def imported_by(names: Iterable[str], leave_out: tuple[str, ...]) -> set[Path]:
    """The files of porter that some modules import, directly or not, but for their types' sake."""
    reached: set[Path] = set()
    coming = [file for name in names for file in files_of(name)]
    while coming:
        path = coming.pop()
        if path not in reached:
            reached.add(path)
            for name in imported(path):
                if not name.startswith(leave_out):
                    coming += files_of(name)
    return reached


def files_of(name: str) -> list[Path]:
    """The file of a module of porter; none for what is no module."""
    place = PORTER.parent.joinpath(*name.split("."))
    return [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]


def imported(path: Path) -> list[str]:
    """The modules of porter that a file imports anywhere, but for its types' sake."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("porter"):
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found
