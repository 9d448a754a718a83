"""An upstream with everything that `porter add` looks for, and a project to add it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from porter.cli import main
from porter.project.init import make_project
from porter.upstream import propose
from porter.upstream.gitfetch import FetchFailed
from tests.small_project import publish, sealed_git, write_files

FILES = {
    "LICENSE": None,
    "README.md": "# A model\n",
    "setup.py": "from setuptools import setup\nsetup(name='my-model', version='1.2')\n",
    "requirements.txt": "numpy>=1.20\nseaborn\n",
    "model/__init__.py": "import json\n\nfrom .net import Net, width\n",
    "model/net.py": "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n\n\nwidth = 64\n",
    "docs/long.md": "words\n",
    "picture.png": "not really\n",
}
GOOD_NAMES = ("Net", "json", "net", "width")


@dataclass(frozen=True)
class Ran:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Porter = Callable[..., Ran]


@pytest.fixture
def porter(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Porter:
    """Run porter in this process, in the folder ``cwd`` if given."""

    def run(*args: object, cwd: Path | None = None) -> Ran:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def _no_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fixture ``index`` no package has a release; pip would take seconds to say so."""

    def none(name: str, version: str | None, *_: object) -> None:
        raise FetchFailed(f"No matching distribution found for {name}")

    if "index" not in request.fixturenames:
        monkeypatch.setattr(propose, "look_up_release", none)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses as its index."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty project."""
    list(make_project(tmp_path / "project"))
    return tmp_path / "project"


@pytest.fixture
def upstream(tmp_path: Path) -> str:
    """The URL of the upstream of FILES, with a submodule LIB."""
    folder = tmp_path / "upstreams"
    lib = make_repository(folder / "lib", {"lib.py": "lib = 1\n"})
    publish(folder, "lib", folder / "lib")
    make_repository(folder / "my_Model", {k: v for k, v in FILES.items() if v is not None})
    work = folder / "my_Model"
    write_files(work, {".gitmodules": '[submodule "LIB"]\n\tpath = LIB\n\turl = ../lib.git\n'})
    sealed_git(work, "add", ".")
    sealed_git(work, "update-index", "--add", "--cacheinfo", f"160000,{lib},LIB")
    sealed_git(work, "commit", "--quiet", "-m", "The submodule")
    publish(folder, "my_Model", work)
    return f"file://{folder}/my_Model.git"


def make_repository(folder: Path, files: dict[str, str]) -> str:
    """Make a repository of one commit; return its id."""
    folder.mkdir(parents=True)
    sealed_git(folder, "init", "--quiet", "--initial-branch=main")
    write_files(folder, files)
    sealed_git(folder, "add", ".")
    sealed_git(folder, "commit", "--quiet", "-m", "The pinned commit")
    return sealed_git(folder, "rev-parse", "HEAD").strip()
