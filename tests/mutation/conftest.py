"""Mutants run in the environment and the fork servers of the tests of verification."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.small_port import SmallPort
from tests.verify.conftest import _fork_servers as _fork_servers
from tests.verify.conftest import environments as environments
from tests.verify.conftest import heard as heard
from tests.verify.conftest import trees as trees


@pytest.fixture
def port(port: SmallPort, environments: Path) -> SmallPort:
    """A small port for the command line, with the probe environments of all tests."""
    cache = Path(os.environ["PORTER_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    environments.mkdir(exist_ok=True)
    (cache / "environments").symlink_to(environments)
    return port
