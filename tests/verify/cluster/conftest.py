"""A Ray cluster of several machines on this one, each with a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from porter.verify.cache.store import Places
from porter.verify.cluster.driver import open_cluster
from porter.verify.execute import execute
from porter.verify.execution.session import Options, Session
from porter.verify.judge.result import RecipeResult
from porter.verify.plan.select import Filters, make_plan
from tests.verify.conftest import Heard
from tests.verify.folder_trees import FolderTrees

_BYTES = 80 * 2**20


@dataclass
class Machines:
    """The machines of a cluster, by name, and the folder of their caches."""

    cluster: Any
    folder: Path
    nodes: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def cache(self, name: str) -> Path:
        return self.folder / name

    def add(self, name: str, memory: int = 4 * 2**30, **variables: str) -> None:
        """Add a machine of one processor."""
        env = {"PORTER_CACHE": str(self.cache(name)), **variables}
        self.nodes[name] = self.cluster.add_node(
            num_cpus=1, memory=memory, object_store_memory=_BYTES, env_vars=env
        )

    def kill(self, name: str) -> None:
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)

    def made_on(self, name: str) -> bool:
        """Whether a run was made on a machine."""
        return (self.cache(name) / "cluster.git").is_dir()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster without machines but the head, which makes no run."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def machines(cluster: Any, tmp_path: Path) -> Iterator[Machines]:
    """The cluster, to which a test adds machines."""
    machines = Machines(cluster, tmp_path / "machines")
    yield machines
    for name in list(machines.nodes):
        machines.kill(name)


@dataclass
class Verifying:
    """A project that is verified, here or on a cluster."""

    project: Path
    environments: Path
    trees: FolderTrees

    def places(self, name: str) -> Places:
        cache = self.project / name
        return Places(self.environments, cache / "traces", cache / "runs")

    def here(self) -> tuple[list[RecipeResult], Heard]:
        return self._verified("here", Heard(), Options())

    def on(
        self, machines: Machines, heard: Heard | None = None
    ) -> tuple[list[RecipeResult], Heard]:
        heard = heard or Heard()
        with open_cluster(machines.address, Options(), heard.say) as sent:
            return self._verified("there", heard, sent)

    def _verified(
        self, name: str, heard: Heard, options: Options
    ) -> tuple[list[RecipeResult], Heard]:
        plan = make_plan(self.project, (), self.trees, Filters())
        session = Session(self.trees, self.places(name), heard, options)
        return list(execute(plan, session)), heard


@pytest.fixture
def verifying(tmp_path: Path, environments: Path, trees: FolderTrees) -> Verifying:
    return Verifying(tmp_path, environments, trees)
