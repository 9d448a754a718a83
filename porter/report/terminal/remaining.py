"""How long the runs that are left take, about: by those made so far, else by earlier ones.

A run is taken to last as long as those of its recipe that were made this time did on average; where
there is none yet, as those of an earlier verification; else as all that were made so far.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Recipe:
    """What is known of one recipe's runs: those still to start, and those that were made."""

    waiting: int = 0
    made: int = 0
    seconds: float = 0.0
    usual: float | None = None


@dataclass
class Remaining:
    """Counts runs by recipe and time; thread-safe. A run's title begins with its recipe's name and
    a colon."""

    clock: Callable[[], float]
    running: dict[str, float] = field(default_factory=dict)
    _recipes: dict[str, _Recipe] = field(default_factory=dict)
    _most: int = 1
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def expect(self, recipe: str, runs: int, seconds: float | None) -> None:
        """So many runs more of a recipe; ``seconds`` is what one took earlier."""
        with self._lock:
            known = self._recipes.setdefault(recipe, _Recipe())
            known.waiting += runs
            known.usual = seconds if seconds is not None else known.usual

    def started(self, run: str) -> None:
        with self._lock:
            self.running[run] = self.clock()
            self._of(run).waiting -= 1
            self._most = max(self._most, len(self.running))

    def ended(self, run: str, is_made: bool) -> None:
        """A run ended, or was found, or is not wanted any more."""
        with self._lock:
            recipe, since = self._of(run), self.running.pop(run, None)
            if since is None:
                recipe.waiting -= 1
            elif is_made:
                recipe.made += 1
                recipe.seconds += self.clock() - since

    def under_way(self) -> list[tuple[str, float]]:
        """Return the runs under way, the oldest first, and how long each has taken so far."""
        with self._lock:
            now = self.clock()
            return sorted(((r, now - s) for r, s in self.running.items()), key=lambda one: -one[1])

    def seconds(self) -> float | None:
        """Return how long all that is left takes, about; None when nothing tells."""
        with self._lock:
            left = 0.0
            for name, recipe in self._recipes.items():
                mine = [s for run, s in self.under_way() if _recipe_of(run) == name]
                if recipe.waiting <= 0 and not mine:
                    continue
                usual = self._usual(recipe)
                if usual is None:
                    return None
                left += max(recipe.waiting, 0) * usual + sum(max(usual - s, 0.0) for s in mine)
            return left / self._most

    def _of(self, run: str) -> _Recipe:
        return self._recipes.setdefault(_recipe_of(run), _Recipe())

    def _usual(self, recipe: _Recipe) -> float | None:
        if recipe.made:
            return recipe.seconds / recipe.made
        if recipe.usual is not None:
            return recipe.usual
        made = sum(one.made for one in self._recipes.values())
        return sum(one.seconds for one in self._recipes.values()) / made if made else None


def _recipe_of(run: str) -> str:
    return run.partition(":")[0]
