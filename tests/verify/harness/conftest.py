"""Fixtures of the tests of the code that runs in a probe's process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.verify.single_run import SingleRun, single_runs


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleRun]:
    """Runs probes once each."""
    with single_runs(tmp_path_factory.mktemp("single"), Path(sys.executable)) as runs:
        yield runs
