"""Environments are built beside the runs of recipes that do not need them."""

from __future__ import annotations

import functools
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.verify.environment.requirements import TORCH_ALONE, Requirements
from porter.verify.environment.venv import Environment, EnvironmentFailed, ensure_environment
from porter.verify.execution import session as sessions
from porter.verify.execution.sandbox import NO_SANDBOX
from porter.verify.execution.session import Options
from tests.verify.conftest import StartVerify, Verify
from tests.verify.folder_trees import PARITY, FolderTrees, write_recipe

PROBE = """
    from pathlib import Path
    from upstream_code import f
    def run(probe):
        Path({ran!r}).touch()
        probe.record("y", f(probe.normal("x", 200)))
    """
CODES = {f"l{n}": f"level = {n}\ndef f(x): return x + 1" for n in range(2)}


class Builder:
    """Stands in for the building: torch alone under each name, after what a test wants of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}

    def __call__(self, asked: Requirements, *rest: object) -> Environment:
        self.asked.append(asked.name)
        self.before.get(asked.name, lambda: None)()
        return ensure_environment(TORCH_ALONE, *rest)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs tell the test by files that they were made."""
    monkeypatch.setattr(sessions, "find_sandbox", lambda _: NO_SANDBOX)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    made = Builder()
    monkeypatch.setattr(sessions, "ensure_environment", made)
    return made


@pytest.fixture
def recipe(tmp_path: Path, trees: FolderTrees) -> Callable[[str, str], Path]:
    """Write a recipe of a name in an environment of a name; return the file that its runs make."""
    trees.add("port", **CODES)

    def write(name: str, environment: str) -> Path:
        ran = tmp_path / f"{name}-ran"
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / f"{environment}.txt").write_text("wanted\n")
        line = f"environment: ../{environment}.txt\n" if environment else ""
        write_recipe(tmp_path, "port", name, line + PARITY, PROBE.format(ran=str(ran)))
        return ran

    return write


def test_runs_go_on_while_an_environment_is_built(
    builder: Builder, recipe: Callable[[str, str], Path], trees: FolderTrees, verify: Verify
) -> None:
    recipe("a", "slow")
    ran = recipe("b", "")

    def wait() -> None:
        deadline = time.monotonic() + 120
        while not ran.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ran.exists(), "the other recipe's runs waited for the building"

    builder.before["slow"] = wait

    results = verify(trees, options=Options(jobs=1))

    assert [(result.recipe, result.passed) for result in results] == [("b", True), ("a", True)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_environments_are_built_in_the_order_of_the_results_and_no_more_than_jobs_at_once(
    jobs: int,
    builder: Builder,
    recipe: Callable[[str, str], Path],
    trees: FolderTrees,
    verify: Verify,
) -> None:
    for name, environment in (("a", "two"), ("b", "one"), ("c", "two"), ("d", "")):
        recipe(name, environment)
    together = threading.Barrier(jobs, timeout=60)  # two that go on at once meet here
    under_way: list[str] = []

    def build(name: str) -> None:
        under_way.append(name)
        assert len(under_way) <= jobs
        together.wait()
        time.sleep(0.05)
        under_way.remove(name)

    builder.before = {name: functools.partial(build, name) for name in ("one", "two")}

    results = verify(trees, options=Options(jobs=jobs))

    assert [(result.recipe, result.passed) for result in results] == [
        (name, True) for name in "dacb"
    ]
    built = [name for name in builder.asked if name != "torch-alone"]
    # Two threads that start together may come here in either order.
    assert (built if jobs == 1 else sorted(built, reverse=True)) == ["two", "one"]


def test_what_cannot_be_built_fails_only_its_own_recipes(
    builder: Builder, recipe: Callable[[str, str], Path], trees: FolderTrees, verify: Verify
) -> None:
    for name, environment in (("a", "bad"), ("b", "good"), ("c", "bad"), ("d", "")):
        recipe(name, environment)

    def fail() -> None:
        raise EnvironmentFailed("environment bad: no such package")

    builder.before["bad"] = fail

    results = {result.recipe: result for result in verify(trees)}

    assert {name for name, result in results.items() if result.passed} == {"b", "d"}
    assert [v.detail for v in results["c"].verdicts] == ["environment bad: no such package"]
    assert builder.asked.count("bad") == 1


def test_an_environment_that_stands_there_comes_before_those_to_be_built(
    recipe: Callable[[str, str], Path],
    trees: FolderTrees,
    verify: Verify,
    monkeypatch: pytest.MonkeyPatch,
    builder: Builder,
) -> None:
    recipe("a", "new")
    recipe("b", "there")
    find = sessions.find_environment

    def found(asked: Requirements, *rest: object) -> Environment | None:
        return None if asked.name == "new" else find(TORCH_ALONE, *rest)  # type: ignore[arg-type]

    verify(trees)
    monkeypatch.setattr(sessions, "find_environment", found)

    results = verify(trees, options=Options(fresh=True))

    assert [result.recipe for result in results] == ["b", "a"]


@pytest.fixture
def silent_index() -> Iterator[socket.socket]:
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_ctrl_c_ends_pip_and_leaves_no_half_built_environment(
    tmp_path: Path,
    environments: Path,
    recipe: Callable[[str, str], Path],
    silent_index: socket.socket,
    start: StartVerify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe("a", "never-built")
    monkeypatch.delenv("PIP_NO_INDEX")
    port = silent_index.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    porter = start()
    assert select.select([silent_index], [], [], 120)[0], "pip never asked"
    asked, _ = silent_index.accept()

    porter.send_signal(signal.SIGINT)
    _, stderr = porter.communicate(timeout=60)

    assert (porter.returncode, "porter: interrupted" in stderr) == (130, True)
    asked.settimeout(20)
    while asked.recv(65536):  # pip's request; then its end
        pass
    assert not list(environments.glob("never-built-*/build-*"))
