"""A small project and a tree of its port ``toy``, as for moving trees."""

from pathlib import Path

import pytest

from tests.tree.conftest import Porter, made, porter, project, toy, upstreams

__all__ = ["made", "porter", "project", "toy", "upstreams"]


@pytest.fixture
def locked(project: Path, porter: Porter) -> None:
    """Lock both ports: without a tree, `porter check` judges all."""
    assert porter("lock", "mate", "toy").code == 0
