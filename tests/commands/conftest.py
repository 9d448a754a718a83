"""The small project and the tree of the tests of trees."""

from __future__ import annotations

from tests.tree.conftest import made, porter, project, toy, upstreams

__all__ = ["made", "porter", "project", "toy", "upstreams"]
