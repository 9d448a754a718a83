"""A small project, porter's command line in process, and a tree of ``toy``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from porter.cli import main
from tests.small_project import Upstreams, make_project, make_upstreams, sealed_git

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str


Porter = Callable[..., Ran]


@pytest.fixture(scope="session")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> Upstreams:
    return make_upstreams(tmp_path_factory.mktemp("upstreams"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, upstreams: Upstreams) -> tuple[Path, Path]:
    """A project and a warm cache, to be copied by each test."""
    top = tmp_path_factory.mktemp("made")
    root = make_project(top / "project", upstreams)
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"PORTER_CACHE": str(top / "cache"), "PORTER_ROOT": str(root), "HOME": str(top)}
    env |= {
        "PYTHONPATH": str(REPOSITORY),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    command = [sys.executable, "-m", "porter", "apply", "toy", str(top / "tree" / "toy")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    return root, top / "cache"


@pytest.fixture
def project(
    made: tuple[Path, Path], tmp_path: Path, sealed: None, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project of the test's own with a warm store; the working directory is beside it."""
    root = tmp_path / "project"
    shutil.copytree(made[0], root)
    shutil.copytree(made[1], os.environ["PORTER_CACHE"])
    monkeypatch.setenv("PORTER_ROOT", str(root))
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def porter(capfd: pytest.CaptureFixture[str]) -> Porter:
    """Run porter's command line in process."""

    def run(*args: str | Path) -> Ran:
        capfd.readouterr()
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def toy(project: Path, porter: Porter, tmp_path: Path) -> Path:
    """A tree of toy at its last level, 3 (drop-old)."""
    folder = tmp_path / "work" / "toy"
    assert porter("apply", "toy", folder).code == 0
    return folder


def head(folder: Path) -> str:
    """Return the subject of HEAD's commit."""
    return sealed_git(folder, "log", "-1", "--format=%s").strip()


def porter_process(*args: str | Path, **env: str) -> subprocess.Popen[bytes]:
    """Start porter in a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "porter", *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
