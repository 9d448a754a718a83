"""A small project and a tree of its port ``toy``, as for moving trees."""

from tests.tree.conftest import made, porter, project, toy, upstreams

__all__ = ["made", "porter", "project", "toy", "upstreams"]
