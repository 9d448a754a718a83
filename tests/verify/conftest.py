"""Fixtures of the tests of verification; they share a probe environment and fork servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from porter.verify.cache.store import Places
from porter.verify.execute import execute
from porter.verify.execution import run_probe as run
from porter.verify.execution import scheduler as runs
from porter.verify.execution.forkserver import ForkedProcess, ForkServerPool, Process, Start
from porter.verify.execution.run_probe import Launcher
from porter.verify.execution.session import Options, Session
from porter.verify.judge.result import RecipeResult
from porter.verify.plan import port_trees as upstream_trees
from porter.verify.plan.select import Filters, make_plan
from porter.verify.plan.trees import Trees
from tests.verify.folder_trees import FolderTrees


@dataclass
class Heard:
    """An observer that records its calls."""

    lines: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    expected: int = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def building(self, environment: str) -> None:
        self.lines.append(f"building the environment {environment}")

    def progress(self, line: str) -> None:
        self.lines.append(line)

    def built(self, environment: str, how: str) -> None:
        self.lines.append(f"environment {environment} {how}")

    def expect(self, recipe: str, runs: int, seconds: float | None = None) -> None:
        self.expected += runs

    def started(self, run: str) -> None:
        self.runs.append(run)

    def ended(self, run: str, how: str) -> None:
        self.ends.append(how)


class Lent(ForkServerPool):
    """The fork servers of one verification, shared by all tests: torch is imported once."""

    def __init__(self, folder: Path, lender: ForkServerPool) -> None:
        super().__init__(folder, enabled=False)
        self._lender = lender
        self._cold = 0

    def start(self, start: Start, device: str) -> Process:
        process = self._lender.start(replace(start, shared=_lasting(start.shared)), device)
        self._cold += not isinstance(process, ForkedProcess)
        return process

    def refusals(self) -> list[str]:
        return self._lender.refusals() if self._cold else []

    def torch_in(self, python: Path, shared: Mapping[str, str]) -> str:
        return self._lender.torch_in(python, _lasting(shared))


def _lasting(shared: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a run that name no folder of one test."""
    return {
        k: v for k, v in shared.items() if not k.startswith(("GIT_", "HOME", "PORTER_", "XDG_"))
    }


@pytest.fixture(scope="session", autouse=True)
def _fork_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every verification of the session use the same fork servers.

    Tests of the fork server itself import the real ``launcher`` before this.
    """
    real = run.launcher
    with (
        pytest.MonkeyPatch.context() as patch,
        real(tmp_path_factory.mktemp("forkservers")) as lender,
    ):

        @contextmanager
        def lending(folder: Path, warm: bool | None = None) -> Iterator[Launcher]:
            with real(folder, False) as own:
                servers = own.warm if warm is False else Lent(own.warm.folder, lender.warm)
                yield Launcher(servers, own.stop)

        patch.setattr(run, "launcher", lending)
        patch.setattr(runs, "launcher", lending)
        yield


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of probe environments, shared by all tests of a run, its workers' too."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments"


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
def root(
    tmp_path: Path, trees: FolderTrees, environments: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project's root for porter's command line in process: it finds ``trees``, and no store."""

    @contextmanager
    def open_trees(_: Path) -> Iterator[FolderTrees]:
        yield trees

    monkeypatch.setattr(upstream_trees, "open_trees", open_trees)
    places = Places(environments, tmp_path / "traces", tmp_path / "runs")
    monkeypatch.setattr(Places, "under", staticmethod(lambda _: places))
    monkeypatch.setenv("PORTER_ROOT", str(tmp_path))
    return tmp_path


StartVerify = Callable[..., "subprocess.Popen[str]"]

PROGRAM = """
import os, sys
from contextlib import contextmanager
from pathlib import Path
import porter.verify.plan.port_trees as real
from porter.cli import main
from porter.verify.cache.store import Places
from tests.verify.folder_trees import FolderTrees
base, environments = Path(sys.argv[1]), Path(sys.argv[2])
trees = FolderTrees(base / f"trees-{os.getpid()}")
trees.add("port", upstream="level = 0", one="level = 1")
@contextmanager
def open_trees(_):
    yield trees
real.open_trees = open_trees
Places.under = staticmethod(lambda _: Places(environments, base / "traces", base / "runs"))
code = main(["verify", "--sandbox", "off", *sys.argv[3:]])
print("torch" if "torch" in sys.modules else "no torch", file=sys.stderr)
sys.exit(code)
"""
"""A program that runs ``porter verify`` on two levels, and says whether torch was imported.

Its probes tell the test by files where they are, so they run in no sandbox.
"""


@pytest.fixture
def start(tmp_path: Path, environments: Path) -> StartVerify:
    """Start ``porter verify`` with some arguments, in a process of its own."""

    def go(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(environments), *arguments],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PORTER_ROOT": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return go


@pytest.fixture
def python() -> Path:
    """An interpreter that has torch: the one that runs the tests."""
    return Path(sys.executable)
