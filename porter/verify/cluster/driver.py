"""Send runs to a Ray cluster as tasks, and take their traces."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from porter.errors import BadInput
from porter.process import Stopped
from porter.verify.cache.packing import Refused, unpack_trace
from porter.verify.cluster.node import RESOURCES, Declined, Order, Setting, make_run, setting
from porter.verify.cluster.shipping import Sender
from porter.verify.environment.requirements import TORCH_ALONE, load_requirements
from porter.verify.environment.torch_layer import PINNED
from porter.verify.environment.variables import inherited
from porter.verify.execution.sandbox import Mode
from porter.verify.execution.session import Options
from porter.verify.plan.matrix import Failure, Job

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5.0
_SURVEY_SECONDS = 120.0
_CANCEL_SECONDS = 20.0
_RETRIES = 3
_NODE = "ray.io/node-id"

Say = Callable[[str], None]


@dataclass
class Cluster:
    """A connected cluster; see :class:`porter.verify.execution.session.Elsewhere`. Thread-safe.

    ``refused`` has the machines that make no run, or none in the environment of that name, and why.
    """

    ray: Any
    say: Say
    setting: Setting
    refused: dict[str, dict[str, str]] = field(default_factory=lambda: {"": {}})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._sender = Sender(self.ray.put)
        self._task = self.ray.remote(make_run)

    @property
    def cpus(self) -> int:
        """The processors of all machines that make runs."""
        return sum(int(each.get("CPU", 0)) for each in self._nodes().values())

    def _nodes(self, environment: str = "") -> dict[str, dict[str, float]]:
        """Return the resources of the machines that make runs, by id."""
        with self._lock:
            refused = self.refused[""].keys() | self.refused.get(environment, {}).keys()
        return {
            node["NodeID"]: node["Resources"]
            for node in self.ray.nodes()
            if node["Alive"] and node["NodeID"] not in refused
        }

    def survey(self) -> None:
        """Ask every machine for its setting; refuse those that differ from here, and say so.

        Raises BadInput when none is left.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self.ray.remote(setting)
        answers = {}
        for node, resources in self._nodes().items():
            if not resources.get("CPU"):
                self._refuse(node, "", "")  # a head that takes no tasks
                continue
            strategy = NodeAffinitySchedulingStrategy(node, soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": strategy, "max_retries": 0}
            answers[node] = ask.options(**options).remote()
        ready, _ = (
            self.ray.wait(
                list(answers.values()), num_returns=max(1, len(answers)), timeout=_SURVEY_SECONDS
            )
            if answers
            else ([], [])
        )
        for node, answer in answers.items():
            if answer not in ready:
                self.ray.cancel(answer, force=True)
                self._refuse(node, f"no answer in {_SURVEY_SECONDS:.0f} s", "")
                continue
            try:
                why = self.setting.difference(self.ray.get(answer))
            except Exception as error:
                why = f"porter does not run there: {_last_line(error)}"
            if why:
                self._refuse(node, why, "")
        if not self.cpus:
            whys = "; ".join(sorted({why for why in self.refused[""].values() if why}))
            raise BadInput(
                "--cluster: expected a machine with this one's processor, system, Python, torch "
                f"and porter, found none ({whys or 'no machine takes tasks'})"
            )

    def _refuse(self, node: str, why: str, what: str) -> None:
        with self._lock:
            known = self.refused.setdefault(what, {})
            if node in known:
                return
            known[node] = why
        if why:
            runs = f"runs in {what}" if what else "runs"
            self.say(f"{self._name(node)} makes no {runs}: {why}")

    def _name(self, node: str) -> str:
        for each in self.ray.nodes():
            if each["NodeID"] == node:
                return f"machine {each['NodeName']} ({node[:8]})"
        return f"machine {node[:8]}"

    def make(
        self,
        job: Job,
        requirements: Path | None,
        key: str,
        folder: Path,
        options: Options,
        stop: threading.Event,
    ) -> Path | Failure:
        """Make a run somewhere; return its trace's folder, in ``folder``.

        Raises Stopped soon after ``stop`` is set, when the run has ended there.
        """
        order = self._order(job, requirements, key, options.sandbox, options.warm)
        asked = order.requirements.name
        why = ""
        while True:
            wanted = self._resources(job, asked, why)
            if isinstance(wanted, Failure):
                return wanted
            machines, asked_for = wanted
            answer = self._answer(self._task.options(**asked_for).remote(order), machines, stop)
            if isinstance(answer, Declined):
                why = answer.why
                self._refuse(answer.node, why, answer.what)
                continue
            if isinstance(answer, Failure):
                return answer
            out = folder / "out"
            try:
                unpack_trace(answer, key).of(job.facts).write(out)
            except Refused as error:
                return Failure("trace", f"came as a damaged trace: {error}", "")
            return out

    def _order(
        self, job: Job, path: Path | None, key: str, sandbox: Mode, warm: bool | None
    ) -> Order:
        """Return a run as it is sent; its folders are sent first."""
        homes = {"": job.tree, **job.companions}
        return Order(
            key=key,
            facts=job.facts,
            setting=self.setting,
            requirements=TORCH_ALONE if path is None else load_requirements(path, PINNED),
            variables=inherited(),
            probe=self._sender.send(job.probe.parent),
            probe_name=job.probe.name,
            parameters=job.parameters,
            tree=self._sender.send(job.tree),
            source_roots=tuple(_placed(root, homes) for root in job.source_roots),
            companions={name: self._sender.send(f) for name, f in job.companions.items()},
            seconds=job.seconds,
            memory_bytes=job.memory_bytes,
            base=job.base,
            sandbox=sandbox,
            warm=warm,
        )

    def _resources(
        self, job: Job, environment: str, why: str
    ) -> tuple[set[str], dict[str, Any]] | Failure:
        """Return the machines that can make a run, and what its task asks for.

        A failure if there is none.
        """
        nodes = self._nodes(environment)
        if not nodes:
            return Failure("cluster", f"no machine of the cluster can make it: {why}", "")
        device = RESOURCES.get(job.facts.device)
        fitting = {n: r for n, r in nodes.items() if device is None or r.get(device, 0) >= 1}
        if not fitting:
            return Failure(
                "device", f"device {job.facts.device}: no machine of the cluster has one", ""
            )
        most = max(resources.get("memory", 0) for resources in fitting.values())
        if job.memory_bytes > most:
            has = f"{job.memory_bytes / 2**30:g} GiB (limits.memory_gib)"
            return Failure(
                "memory", f"needs {has}; no machine of the cluster has over {most / 2**30:.1f}", ""
            )
        cpus = max(resources.get("CPU", 1) for resources in fitting.values())
        options: dict[str, Any] = {
            "num_cpus": min(job.facts.threads, cpus),
            "memory": job.memory_bytes,
            "max_retries": _RETRIES,
            "label_selector": {_NODE: f"in({','.join(sorted(fitting))})"},
        }
        if device == "GPU":
            options["num_gpus"] = 1
        elif device is not None:
            options["resources"] = {device: 1}
        return set(fitting), options

    def _answer(self, task: Any, machines: set[str], stop: threading.Event) -> Any:
        """Wait for a task. Ray replaces a machine that is lost, while one is left."""
        from ray.exceptions import RayError

        look = time.monotonic() + _LOOK_SECONDS
        while not self.ray.wait([task], timeout=_POLL_SECONDS)[0]:
            if stop.is_set():
                self.ray.cancel(task, force=False)
                with suppress(RayError):
                    self.ray.get(task, timeout=_CANCEL_SECONDS)
                raise Stopped
            if time.monotonic() > look:
                if not machines & self._nodes().keys():
                    self.ray.cancel(task, force=True)
                    return Failure("cluster", "was lost by the cluster: no machine is left", "")
                look = time.monotonic() + _LOOK_SECONDS
        try:
            return self.ray.get(task)
        except RayError as error:
            return Failure("cluster", f"was lost by the cluster: {_last_line(error)}", "")


def _placed(root: Path, homes: dict[str, Path]) -> tuple[str, str]:
    for name, home in homes.items():
        if root.is_relative_to(home):
            return name, root.relative_to(home).as_posix()
    raise ValueError(f"{root} lies in no tree of its run")


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


@contextmanager
def open_cluster(address: str, options: Options, say: Say) -> Iterator[Options]:
    """Give the options with the cluster at ``address`` in them, surveyed.

    ``auto`` is the cluster that this machine is part of. Raises BadInput.
    """
    ray = _connected(address)
    try:
        cluster = Cluster(ray, say, setting())
        cluster.survey()
        yield replace(options, elsewhere=cluster)
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A task without a GPU keeps the variables that it has: a run's are set by porter.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise BadInput(
            f"--cluster {address}: expected the package ray, found none ({error}); "
            "`pip install 'porter[ray]'` brings it"
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise BadInput(
            f"--cluster {address}: expected `auto` on a machine of a running cluster, or "
            f"ray://HOST:PORT, found {_last_line(error)}; `ray start --head` starts one"
        ) from error
    return ray
