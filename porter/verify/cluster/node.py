"""What a machine of a cluster does: make one run, in a process that Ray keeps for the next one."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import porter
from porter.errors import PorterError
from porter.places import cache_dir
from porter.verify.cache.keys import engine_hash, machine
from porter.verify.cache.packing import Refused, pack_trace
from porter.verify.cache.store import Places
from porter.verify.cluster.shipping import Receiver, SentFolder
from porter.verify.environment.requirements import TORCH_ALONE, Requirements
from porter.verify.environment.torch_layer import find_layer
from porter.verify.environment.variables import adopt, shared_variables
from porter.verify.environment.venv import (
    Environment,
    EnvironmentFailed,
    ensure_environment,
    environment_content,
    torch_in,
)
from porter.verify.execution.forkserver import ForkServerError
from porter.verify.execution.run_probe import Launcher, launcher, run_folder, run_probe
from porter.verify.execution.sandbox import Mode, Sandbox, find_sandbox
from porter.verify.execution.scheduler import FULL
from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.matrix import Failure, Job

RESOURCES = {"cuda": "GPU", "hpu": "HPU", "npu": "NPU"}
"""Real device -> Ray's name of the resource that a run on it takes one of."""


@dataclass(frozen=True)
class Setting:
    """What decides results on a machine, as the keys of traces have it, and in words."""

    machine: str
    porter: str
    python: str

    def difference(self, other: Setting) -> str:
        """Return what of ``other`` is not as here, in words; "" if nothing is."""
        if self.porter != other.porter:
            return f"its porter has other code ({porter.__version__} here)"
        if self.python != other.python:
            return "its Python or torch is another"
        if self.machine != other.machine:
            return "its processor or system is another"
        return ""


def setting() -> Setting:
    """Return this machine's setting."""
    return _setting()


@cache
def _setting() -> Setting:
    content = environment_content(TORCH_ALONE, find_layer())
    return Setting(machine(), engine_hash(is_simulated=True), content)


@dataclass(frozen=True)
class Order:
    """One run as it is sent. ``source_roots`` are (companion, or "" for the tree; path in it).

    ``variables`` are those of the sender that reach a run (:mod:`porter.verify.environment
    .variables`).
    """

    key: str
    facts: RunFacts
    setting: Setting
    requirements: Requirements
    variables: Mapping[str, str]
    probe: SentFolder
    probe_name: str
    parameters: Mapping[str, Any]
    tree: SentFolder
    source_roots: tuple[tuple[str, str], ...]
    companions: Mapping[str, SentFolder]
    seconds: float
    memory_bytes: int
    sandbox: Mode
    warm: bool | None
    base: str = ""


@dataclass(frozen=True)
class Declined:
    """A machine's answer that another should make the run, and why.

    ``what`` is "" where the machine can make none, else the environment that it cannot build.
    """

    node: str
    why: str
    what: str = ""


class _Silent:
    """Hears the building of environments, and says nothing."""

    def say(self, line: str) -> None: ...
    def building(self, environment: str) -> None: ...
    def progress(self, line: str) -> None: ...
    def built(self, environment: str, how: str) -> None: ...


@dataclass
class _Worker:
    """What a process of the machine keeps from one run to the next."""

    receiver: Receiver
    places: Places
    start: Launcher
    environments: dict[Requirements, Environment]


@cache
def _worker(warm: bool | None) -> _Worker:
    import ray

    places = Places.under(cache_dir())
    stack = ExitStack()
    atexit.register(stack.close)
    start = stack.enter_context(launcher(places.runs, warm))
    return _Worker(Receiver(ray.get), places, start, {})


@cache
def _sandbox(mode: Mode) -> Sandbox:
    return find_sandbox(mode)


def make_run(order: Order) -> bytes | Failure | Declined:
    """Make a run; return its trace, packed (:mod:`porter.verify.cache.packing`).

    An interruption (``ray.cancel``) ends the probe's whole process group first.
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    if why := order.setting.difference(setting()):
        return Declined(node, why)
    adopt(order.variables, keep_cards=order.facts.device in RESOURCES)
    try:
        return _made(order, node)
    except (OSError, PorterError) as error:
        return Declined(node, str(error))


def _made(order: Order, node: str) -> bytes | Failure | Declined:
    worker, sandbox = _worker(order.warm), _sandbox(order.sandbox)
    try:
        environment = _environment(worker, order.requirements)
    except EnvironmentFailed as error:
        return Declined(node, str(error), order.requirements.name)
    if environment.identity != order.facts.environment:
        why = f"it gets other packages for {order.requirements.name}"
        return Declined(node, why, order.requirements.name)
    job = _job(order, worker.receiver)
    start = replace(worker.start, sandbox=sandbox)
    with run_folder(worker.places.runs) as folder:
        out = run_probe(job, environment.python, folder, start)
        if isinstance(out, Failure):
            if FULL in out.reason + out.stderr:
                return Declined(node, f"{worker.places.runs}: {FULL}")
            return out
        named = folder / order.key
        out.rename(named)
        try:
            return pack_trace(named)
        except Refused as error:
            return Failure("trace", f"left a trace that cannot be sent: {error}", "")


def _environment(worker: _Worker, requirements: Requirements) -> Environment:
    if (known := worker.environments.get(requirements)) and known.python.exists():
        return known

    def torch_of(python: Path) -> str:
        try:
            return worker.start.warm.torch_in(python, shared_variables(1, {}))
        except ForkServerError:
            return torch_in(python)

    layer, place = find_layer(), worker.places.environments
    made = ensure_environment(requirements, layer, place, _Silent(), torch_of)
    worker.environments[requirements] = made
    return made


def _job(order: Order, receiver: Receiver) -> Job:
    """Return the run with the folders of this machine."""
    tree = receiver.folder(order.tree)
    companions = {name: receiver.folder(sent) for name, sent in order.companions.items()}
    return Job(
        facts=order.facts,
        probe=receiver.folder(order.probe) / order.probe_name,
        parameters=order.parameters,
        tree=tree,
        source_roots=tuple(
            (companions[name] if name else tree) / path for name, path in order.source_roots
        ),
        companions=companions,
        seconds=order.seconds,
        memory_bytes=order.memory_bytes,
        base=order.base,
    )
