"""Order recipes so that those with a built environment run while other environments are built.

pip builds in a process of its own and mostly waits, so a build takes no capacity from runs. One
environment is built at a time, in order of need; when there is nothing to run, as many as there is
capacity for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from porter.verify.execution.session import Session
from porter.verify.plan.matrix import RecipePlan


@dataclass(frozen=True)
class Build:
    """A request to build an environment, or to check a built one. None: torch alone."""

    requirements: Path | None


class Part(Protocol):
    """One recipe of a verification."""

    planned: RecipePlan


P = TypeVar("P", bound=Part)


def in_order(recipes: Iterable[RecipePlan], session: Session) -> list[RecipePlan]:
    """Return recipes in the order of their results.

    Those that need no environment of their own come first, then those whose environments are
    built already, then by environment, in the order of building; else the given order is kept.
    """
    given = list(recipes)
    paths = list(dict.fromkeys(planned.loaded.environment for planned in given))
    is_built = {path: session.find_environment(path) is not None for path in paths}

    def place(planned: RecipePlan) -> tuple[bool, bool, int]:
        path = planned.loaded.environment
        return path is not None, not is_built[path], paths.index(path)

    return sorted(given, key=place)


@dataclass
class Schedule(Generic[P]):
    """Yields parts as their environments become available, and the builds still needed."""

    parts: Sequence[P]
    session: Session

    def __iter__(self) -> Iterator[P | Build | None]:
        """Yield parts, builds, and None while every part that is left waits for a build."""
        left = list(self.parts)
        asked: set[Path | None] = set()
        while left:
            wanted = dict.fromkeys(part.planned.loaded.environment for part in left)
            lacking = [path for path in wanted if self._is_to_be_built(path)]
            to_start = [path for path in lacking if path not in asked]
            under_way = len(lacking) - len(to_start)
            if to_start and not under_way:
                asked.add(to_start[0])
                yield Build(to_start[0])
                continue
            for part in left:
                path = part.planned.loaded.environment
                if self.session.is_known(path):
                    left.remove(part)
                    yield part
                    break
                if path not in asked and path not in lacking:
                    asked.add(path)
                    yield Build(path)  # built: check that its torch can be imported
                    break
            else:
                if to_start and under_way < self.session.options.capacity():
                    asked.add(to_start[0])
                    yield Build(to_start[0])
                else:
                    yield None

    def _is_to_be_built(self, path: Path | None) -> bool:
        session = self.session
        return not session.is_known(path) and session.find_environment(path) is None
