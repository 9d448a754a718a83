"""Tests of real upstreams skip only when content is not served."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from porter.errors import SourceUnavailable
from tests.conftest import PROJECT, lasting_cache
from tests.processes import own_environment
from tests.remotes import FILES, Remote, make_remote, make_sdist, one_pin, record_pin_files
from tests.served import Served

SKIPPED = pytest.skip.Exception
HELD = {name: FILES[name] for name in ("src/model.py", "src/deep/layer.py")}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A project whose git source is gone and whose release holds ``src/`` alone."""
    remote = make_remote(tmp_path / "remote")
    sha256 = make_sdist(tmp_path / "index", "model", "1.0", HELD)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    release = {"sdist": {"name": "model", "version": "1.0", "sha256": sha256}}
    one_pin(tmp_path / "project", remote, alternates=[release])
    _record_a_port(tmp_path / "project", remote)
    remote.path.rename(tmp_path / "gone")
    opened = Served(tmp_path / "project")
    yield opened
    opened.close()


def _record_a_port(root: Path, remote: Remote) -> None:
    record_pin_files(root, "model", remote)
    (root / "patches" / "model" / "series").write_text("")


def test_what_a_partial_source_covers_is_there(served: Served) -> None:
    opened = served.upstream("model", "src/")
    oid = opened.listing()[b"src/model.py"].oid
    assert opened.blobs([oid]) == {oid: FILES["src/model.py"]}
    folder = served.folder("model", 0, "src/")
    assert (folder / "src/deep/layer.py").read_bytes() == FILES["src/deep/layer.py"]
    assert served.covered("model", [b"src/model.py", b"README.md"]) == {b"src/model.py"}


def test_what_a_partial_source_lacks_skips_with_the_reason(served: Served) -> None:
    with pytest.raises(SKIPPED, match=r"model: no source serves README.md \(there is no git"):
        served.upstream("model", "src/", "README.md")
    with pytest.raises(SKIPPED, match=r"model: no README.md: there is no git"):
        served.folder("model", 0, "src/", "README.md")
    with pytest.raises(SKIPPED, match=r"model: no source serves README\.md"):
        served.covered("model", [b"README.md"])


def test_content_that_was_not_asked_for_is_no_skip(served: Served) -> None:
    opened = served.upstream("model", "src/")
    with pytest.raises(SourceUnavailable):
        opened.blobs([opened.listing()[b"README.md"].oid])


def test_no_source_at_all_skips_with_the_reason(served: Served, tmp_path: Path) -> None:
    (tmp_path / "index").rename(tmp_path / "gone-too")
    with pytest.raises(SKIPPED, match="model: not reachable: there is no git"):
        served.upstream("model", "src/")
    with pytest.raises(SKIPPED, match="model: there is no git"):
        served.folder("model", 0, "src/")


def test_tests_marked_upstream_open_no_upstream_themselves() -> None:
    marked = [
        path
        for path in sorted((PROJECT / "tests").rglob("test_*.py"))
        if "pytest.mark.upstream" in _marks(ast.parse(path.read_text()))
    ]
    assert len(marked) >= 4
    for path in marked:
        names = {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.alias)}
        assert not names & {"open_upstream", "open_trees", "UpstreamTrees"}, path


def _marks(module: ast.Module) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(module) if isinstance(node, ast.Attribute)}


REACHING_OUT = """
import os, pathlib, pytest
from tests.conftest import sealed
@pytest.mark.upstream
def test_it(tmp_path_factory):
    assert pathlib.Path(os.environ["PORTER_CACHE"]).parent == tmp_path_factory.getbasetemp()
"""


def test_without_pytests_cache_the_store_lasts_for_the_run(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = upstream: reaches out\n")
    (tmp_path / "test_it.py").write_text(REACHING_OUT)
    environment = own_environment()
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


class Unwritable:
    """pytest's cache in a checkout that one may only read."""

    def mkdir(self, name: str) -> Path:
        raise PermissionError(name)


def test_where_pytests_cache_cannot_be_written_the_store_lasts_for_the_run(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cast(pytest.Config, SimpleNamespace(cache=Unwritable()))
    monkeypatch.setattr("tests.conftest._LASTING_CACHE", None)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    kept = lasting_cache(config, tmp_path_factory)

    assert kept == tmp_path_factory.getbasetemp() / "upstreams"
