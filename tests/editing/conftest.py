"""A small project and a tree of its port ``toy``, as for moving trees."""

from pathlib import Path

import pytest

from tests.tree.conftest import Porter, made, porter, project, toy, upstreams

__all__ = ["made", "porter", "project", "toy", "upstreams"]


@pytest.fixture(autouse=True)
def locked(project: Path, porter: Porter) -> None:
    """Lock the port beside, so that `porter check` judges the changed series alone."""
    assert porter("lock", "mate").code == 0
