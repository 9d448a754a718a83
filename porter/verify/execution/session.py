"""State of one verification: cache folders, options, environments shared by its recipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from porter.verify.cache.keys import RunKey
from porter.verify.cache.shared import SharedCache
from porter.verify.cache.store import Places
from porter.verify.environment.requirements import TORCH_ALONE, Requirements, load_requirements
from porter.verify.environment.torch_layer import PINNED, Layer, find_layer
from porter.verify.environment.variables import shared_variables
from porter.verify.environment.venv import (
    Environment,
    EnvironmentFailed,
    Hearer,
    ensure_environment,
    find_environment,
    torch_in,
)
from porter.verify.execution.forkserver import ForkServerError, ForkServerPool
from porter.verify.execution.sandbox import NONE, Mode, Sandbox, find_sandbox
from porter.verify.execution.timings import Timings, timed
from porter.verify.harness.run_info import RunFacts
from porter.verify.plan.matrix import Failure, Job
from porter.verify.plan.trees import Trees

_AT_ONCE = 8
"""Traces that are fetched from a shared cache at once."""


class RunObserver(Hearer, Protocol):
    """Progress callbacks, on the calling thread; those of environments on any thread."""

    def expect(self, recipe: str, runs: int, seconds: float | None = None) -> None:
        """``runs`` more runs of a recipe (``port/name``) are needed.

        ``seconds`` is the duration of one in an earlier verification.
        """

    def started(self, run: str) -> None:
        """A run starts; :meth:`ended` gets the same title. It begins with the recipe and a
        colon."""

    def ended(self, run: str, how: str) -> None:
        """A run ended: "made", "cached", "failed" or "dropped" (no longer needed)."""


class Elsewhere(Protocol):
    """Makes runs on other machines (:mod:`porter.verify.cluster`)."""

    @property
    def cpus(self) -> int:
        """The processors of all machines."""

    def make(
        self,
        job: Job,
        requirements: Path | None,
        key: str,
        folder: Path,
        options: Options,
        stop: threading.Event,
    ) -> Path | Failure:
        """Make a run whose trace has ``key``; return its trace's folder, in ``folder``.

        Raises Stopped soon after ``stop`` is set.
        """


@dataclass(frozen=True)
class Options:
    """How to run. ``jobs``: maximum parallel runs (None: as many as the cores allow); ``fresh``:
    ignore the cache; ``warm``: fork runs from a process that has imported torch (None: where the
    system can, :mod:`porter.verify.execution.forkserver`); ``sandbox``: whether runs are held in
    one (:mod:`porter.verify.execution.sandbox`); ``timings`` gets the time that each part takes;
    ``elsewhere``: other machines that make the runs.
    """

    jobs: int | None = None
    fresh: bool = False
    warm: bool | None = None
    sandbox: Mode = "auto"
    timings: Timings | None = None
    elsewhere: Elsewhere | None = None

    def capacity(self) -> int:
        """Maximum parallel threads; with ``jobs``, maximum parallel runs."""
        if self.jobs is None and self.elsewhere is not None:
            return self.elsewhere.cpus
        return self.jobs or len(os.sched_getaffinity(0))

    def weight(self, threads: int) -> int:
        """How much of the capacity a run with this number of threads takes."""
        return 1 if self.jobs else max(1, min(threads, self.capacity()))


@dataclass
class Session:
    """One verification; ``shared`` is the cache that it shares with other machines, if any."""

    trees: Trees
    places: Places
    observer: RunObserver
    options: Options = Options()
    shared: SharedCache | None = None
    _seen: dict[Path | None, Environment | None] = field(default_factory=dict)
    _environments: dict[Path | None, Environment | EnvironmentFailed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.options.sandbox == "require":
            self.sandbox  # noqa: B018 (raises where there is none, before anything is planned)

    @cached_property
    def sandbox(self) -> Sandbox:
        """The sandbox of the runs made now. Raises BadInput where one is required and absent."""
        return find_sandbox(self.options.sandbox)

    def accepts(self, kinds: str) -> bool:
        """Whether a cached result may be used, by the sandboxes that its runs were made in."""
        return self.options.sandbox != "require" or bool(kinds and NONE not in kinds)

    def bring_trace(self, places: Places, facts: RunFacts, key: str) -> Path | None:
        """Bring a run's trace from the shared cache; None without one."""
        return self.shared.bring_trace(places, facts, key) if self.shared is not None else None

    def bring_traces(self, runs: Collection[RunKey]) -> bool:
        """Bring the traces of some runs from the shared cache, several at once; whether all came.

        What comes of fewer stays in the local cache.
        """
        if self.shared is None:
            return False
        with ThreadPoolExecutor(_AT_ONCE, "shared-cache") as pool:
            brought = pool.map(lambda one: self.bring_trace(self.places, one.facts, one.key), runs)
            return all(folder is not None for folder in brought)

    def mend_trees(self, job: Job | Failure) -> None:
        """Compare the trees that a run is about to use with their ids; say what was damaged."""
        if isinstance(job, Failure):
            return
        with timed(self.options.timings, "comparing trees", job.facts.level_name):
            for folder in (job.tree, *job.companions.values()):
                if line := self.trees.mend(folder):
                    self.observer.say(line)

    def find_environment(self, requirements: Path | None) -> Environment | None:
        """Return the environment of a requirements file if it is built; run nothing in it."""
        if requirements not in self._seen:
            asked, place = _asked(requirements), self.places.environments
            self._seen[requirements] = find_environment(asked, self._layer, place)
        return self._seen[requirements]

    def is_known(self, requirements: Path | None) -> bool:
        """Whether :meth:`environment` returns or raises at once."""
        return requirements in self._environments

    def environment(
        self, requirements: Path | None, warm: ForkServerPool, stop: threading.Event | None = None
    ) -> Environment:
        """Return the environment of a requirements file; build it and import its torch if needed.

        Thread-safe. Raises EnvironmentFailed (at once, if it failed before) and, soon after
        ``stop`` is set, Stopped.
        """
        if requirements not in self._environments:
            try:
                name = _asked(requirements).name
                with timed(self.options.timings, "environments", name):
                    self._environments[requirements] = self._ensure(requirements, warm, stop)
            except EnvironmentFailed as error:
                self._environments[requirements] = error
        found = self._environments[requirements]
        if isinstance(found, EnvironmentFailed):
            raise found
        return found

    def _ensure(
        self, path: Path | None, warm: ForkServerPool, stop: threading.Event | None
    ) -> Environment:
        def torch_of(python: Path) -> str:
            """Ask the fork server that the runs will use: it has imported torch anyway."""
            try:
                return warm.torch_in(python, shared_variables(1, {}))
            except ForkServerError:
                return torch_in(python, stop)

        place = self.places.environments
        return ensure_environment(_asked(path), self._layer, place, self.observer, torch_of, stop)

    @cached_property
    def _layer(self) -> Layer:
        return find_layer()


def _asked(path: Path | None) -> Requirements:
    return load_requirements(path, PINNED) if path is not None else TORCH_ALONE
