"""Machines that share a cache: each has a local cache of its own."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from porter.verify.cache.shared import open_shared
from porter.verify.cache.store import Places
from porter.verify.execute import execute
from porter.verify.execution.session import Options, Session
from porter.verify.judge.result import RecipeResult
from porter.verify.plan.select import Filters, make_plan
from tests.verify.conftest import Heard
from tests.verify.folder_trees import FolderTrees


@dataclass
class Machine:
    """A machine: its local cache, and what was said on it."""

    project: Path
    places: Places
    trees: FolderTrees
    heard: Heard = field(default_factory=Heard)

    def verify(self, options: Options | None = None) -> list[RecipeResult]:
        plan = make_plan(self.project, (), self.trees, Filters())
        with open_shared(self.heard.say) as shared:
            session = Session(self.trees, self.places, self.heard, options or Options(), shared)
            return list(execute(plan, session))


@pytest.fixture
def machine(tmp_path: Path, environments: Path, trees: FolderTrees) -> Callable[[str], Machine]:
    def make(name: str) -> Machine:
        cache = tmp_path / name
        return Machine(tmp_path, Places(environments, cache / "traces", cache / "runs"), trees)

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain folder as the shared cache of every machine."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("PORTER_REMOTE_CACHE", f"file://{shared}")
    return shared


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A server of the S3 protocol on this machine; its address."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A new bucket at the server as the shared cache of every machine; its name."""
    import s3fs

    use_s3(monkeypatch, s3_server)
    bucket = f"bucket-{abs(hash(request.node.nodeid))}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    monkeypatch.setenv("PORTER_REMOTE_CACHE", f"s3://{bucket}/team")
    return bucket


def use_s3(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name, value in (
        ("ENDPOINT_URL", address),
        ("ACCESS_KEY_ID", "me"),
        ("SECRET_ACCESS_KEY", "mine"),
        ("EC2_METADATA_DISABLED", "true"),
        ("CONFIG_FILE", "/dev/null"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
