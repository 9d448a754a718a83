"""Mutants run in the environment and the fork servers of the tests of verification."""

from __future__ import annotations

from tests.verify.conftest import _fork_servers as _fork_servers
from tests.verify.conftest import environments as environments
