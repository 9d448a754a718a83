"""One verification: where things are, what was found and built once for all of its recipes."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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
from porter.verify.plan.trees import Trees


class Observer(Hearer, Protocol):
    """Hears what goes on: of environments in any thread, for they are built beside the runs, of all
    else in the thread that verifies.
    """

    def expect(self, recipe: str, runs: int, seconds: float | None = None) -> None:
        """So many runs more of a recipe (``port/name``) are to be made or found.

        ``seconds`` is how long one took in an earlier verification.
        """
        ...

    def started(self, run: str) -> None:
        """A run starts; ``run`` is its title, the same one that :meth:`ended` will name.

        It begins with the recipe and a colon.
        """
        ...

    def ended(self, run: str, how: str) -> None:
        """A run is there: "made", "cached", "failed" or "dropped" (nobody needs it any more)."""
        ...


@dataclass(frozen=True)
class Options:
    """How to run. ``jobs``: so many runs at once (None: as many as the cores carry); ``fresh``:
    use nothing from the cache; ``warm``: None leaves it to the system
    (:mod:`porter.verify.execution.forkserver`).
    """

    jobs: int | None = None
    fresh: bool = False
    warm: bool | None = None

    def capacity(self) -> int:
        """How many threads, or with ``jobs`` how many runs, may be under way at once."""
        return self.jobs or len(os.sched_getaffinity(0))

    def weight(self, threads: int) -> int:
        """What a run of so many threads takes of the capacity."""
        return 1 if self.jobs else max(1, min(threads, self.capacity()))


@dataclass
class Session:
    """One verification."""

    trees: Trees
    places: Places
    observer: Observer
    options: Options = Options()
    _layer: Layer | None = None
    _seen: dict[Path | None, Environment | None] = field(default_factory=dict)
    _environments: dict[Path | None, Environment | EnvironmentFailed] = field(default_factory=dict)

    def find_environment(self, requirements: Path | None) -> Environment | None:
        """Return the environment for a requirements file if it is built; nothing is run in it."""
        if requirements not in self._seen:
            asked, place = _asked(requirements), self.places.environments
            self._seen[requirements] = find_environment(asked, self._found_layer(), place)
        return self._seen[requirements]

    def is_known(self, requirements: Path | None) -> bool:
        """Whether :meth:`environment` answers at once, with an environment or an error."""
        return requirements in self._environments

    def environment(
        self, requirements: Path | None, warm: ForkServerPool, stop: threading.Event | None = None
    ) -> Environment:
        """Return the environment for a requirements file, built when needed, its torch imported.

        Any thread may ask. Raises EnvironmentFailed, at once for one that failed already, and
        Stopped soon after ``stop`` is set.
        """
        if requirements not in self._environments:
            try:
                made: Environment | EnvironmentFailed = self._ensure(requirements, warm, stop)
            except EnvironmentFailed as error:
                made = error
            self._environments[requirements] = made
        found = self._environments[requirements]
        if isinstance(found, EnvironmentFailed):
            raise found
        return found

    def _ensure(
        self, path: Path | None, warm: ForkServerPool, stop: threading.Event | None
    ) -> Environment:
        def torch_of(python: Path) -> str:
            """The nursery that the runs will want tells it for nothing."""
            try:
                return warm.torch_in(python, shared_variables(1, {}))
            except ForkServerError:
                return torch_in(python, stop)

        place = self.places.environments
        return ensure_environment(
            _asked(path), self._found_layer(), place, self.observer, torch_of, stop
        )

    def _found_layer(self) -> Layer:
        if self._layer is None:
            self._layer = find_layer()
        return self._layer


def _asked(path: Path | None) -> Requirements:
    return load_requirements(path, PINNED) if path is not None else TORCH_ALONE
