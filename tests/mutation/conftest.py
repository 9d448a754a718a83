"""Mutants run in the environment and the fork servers of the tests of verification."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.small_port import SmallPort, make_small_port
from tests.verify.conftest import _fork_servers as _fork_servers
from tests.verify.conftest import environments as environments
from tests.verify.conftest import heard as heard
from tests.verify.conftest import trees as trees
from tests.verify.folder_trees import write_recipe


@pytest.fixture
def port(tmp_path: Path, environments: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPort:
    """A small port that porter's command line finds, with the probe environments of all tests."""
    port = make_small_port(tmp_path)
    cache = Path(os.environ["PORTER_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    environments.mkdir(exist_ok=True)
    (cache / "environments").symlink_to(environments)
    monkeypatch.setenv("PORTER_ROOT", str(port.root))
    return port


def add_recipe(port: SmallPort, claims: str, probe: str) -> None:
    """Write the port's recipe ``one`` and leave its pins as they are."""
    pins = (port.root / "upstream_pins.yaml").read_text()
    write_recipe(port.root, "small", "one", claims, probe)
    (port.root / "upstream_pins.yaml").write_text(pins)
