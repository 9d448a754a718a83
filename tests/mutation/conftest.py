"""Mutants are tried in the environment and the nurseries of the tests of verification."""

from __future__ import annotations

from tests.verify.conftest import _nurseries as _nurseries
from tests.verify.conftest import environments as environments
