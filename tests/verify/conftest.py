"""One probe environment (torch alone) for all tests of verification, and a way to run recipes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from porter.verify.cache import Places
from porter.verify.execute import execute
from porter.verify.plan import Filters, make_plan
from porter.verify.result import RecipeResult
from porter.verify.session import Options, Session
from porter.verify.trees import Trees
from tests.verify.folder_trees import FolderTrees


@dataclass
class Heard:
    """An observer that remembers."""

    lines: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    expected: int = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, line: str) -> None:
        self.lines.append(line)

    def expect(self, runs: int) -> None:
        self.expected += runs

    def started(self, run: str) -> None:
        self.runs.append(run)

    def ended(self, run: str, how: str) -> None:
        self.ends.append(how)


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of probe environments, shared by the tests of one session."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def trees(tmp_path: Path) -> FolderTrees:
    return FolderTrees(tmp_path / "trees")


@pytest.fixture
def heard() -> Heard:
    return Heard()


Verify = Callable[..., list[RecipeResult]]


@pytest.fixture
def verify(tmp_path: Path, environments: Path, heard: Heard) -> Verify:
    """Run the recipes under ``tmp_path`` on some trees; return their results."""

    def run(
        trees: Trees, *ports: str, filters: Filters | None = None, options: Options | None = None
    ) -> list[RecipeResult]:
        plan = make_plan(tmp_path, ports, trees, filters or Filters())
        places = Places(environments, tmp_path / "traces", tmp_path / "runs")
        return list(execute(plan, Session(trees, places, heard, options or Options())))

    return run


@pytest.fixture
def python() -> Path:
    """An interpreter that has torch: the one that runs the tests."""
    return Path(sys.executable)
