"""What a comparison of two states found, as plain data and as JSON. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from porter.verify.judge.result import number_to_json
from porter.verify.pins.plan import PinPlan
from porter.verify.pins.states import State
from porter.verify.recipe.schema import is_simulated

Word = Literal["same", "within", "moved", "unjudged", "skipped", "differs", "error"]
"""How an output of one level differs between the states, the best first. ``same``: bit for bit the
same. ``within``: by no more than the recipe allows a level. ``moved``: by more, and as upstream's
own results differ. ``unjudged``: no claim bounds it. ``skipped``: not run here. ``differs``:
otherwise than upstream's own results. ``error``: could not be compared."""
WORDS: tuple[Word, ...] = ("same", "within", "moved", "unjudged", "skipped", "differs", "error")


@dataclass(frozen=True)
class Change:
    """One output of one level in both states, held to one claim; or, with no output, the run.

    ``difference`` is the greatest one between the states, ``upstream`` that of the run that the
    claim compares with. ``apart`` is how far the two differences are apart in ``measure``
    ("max", "rms", "abs", "loss", "elements"), ``allowed`` the most that may be.
    """

    level: int
    level_name: str
    device: str
    dtype: str
    seed: int
    variant: tuple[tuple[str, str], ...]
    output: str
    claim: str
    word: Word
    difference: float | None = None
    upstream: float | None = None
    apart: float | None = None
    allowed: float | None = None
    measure: str = ""
    detail: str = ""
    stderr: str = ""

    @property
    def bad(self) -> bool:
        return self.word in ("differs", "error")

    @property
    def badness(self) -> tuple[int, float, float]:
        """A key that orders changes: by word, by the used part of what is allowed, by size."""
        used = 0.0
        if self.apart and self.allowed is not None:
            used = self.apart / self.allowed if self.allowed else float("inf")
        return WORDS.index(self.word), used, self.difference or 0.0


@dataclass(frozen=True)
class RecipeChanges:
    """The changes of one recipe, and how many runs they rest on (``cached``: not made now)."""

    port: str
    recipe: str
    title: str
    changes: tuple[Change, ...]
    runs: int
    cached: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing is bad; there may be nothing to compare."""
        return not any(change.bad for change in self.changes)


def all_passed(plan: PinPlan, results: Sequence[RecipeChanges]) -> bool:
    """Whether something was compared, nothing is bad, and every recipe is reachable."""
    compared = any(result.changes for result in results)
    return compared and all(result.passed for result in results) and not plan.unreachable


def pins_to_json(
    plan: PinPlan, old: State, new: State, results: Sequence[RecipeChanges], passed: bool
) -> dict[str, Any]:
    """Return a whole comparison as JSON shows it."""
    return {
        "version": 1,
        "port": plan.port,
        "old": {"state": old.name, "upstream": old.upstream(plan.port)},
        "new": {"state": new.name, "upstream": new.upstream(plan.port)},
        "passed": passed,
        "levels": {
            "both": list(plan.shared),
            "only_old": list(plan.only_old),
            "only_new": list(plan.only_new),
        },
        "recipes": [
            {
                "recipe": result.recipe,
                "title": result.title,
                "passed": result.passed,
                "runs": result.runs,
                "cached": result.cached,
                "seconds": round(result.seconds, 3),
                "changes": [_change_to_json(change) for change in result.changes],
            }
            for result in results
        ],
        "not_reachable": [
            {"recipe": one.recipe or None, "short": one.reason, "reason": one.detail or one.reason}
            for one in plan.unreachable
        ],
    }


def _change_to_json(change: Change) -> dict[str, Any]:
    numbers = ("difference", "upstream", "apart", "allowed")
    texts = ("output", "claim", "measure", "detail", "stderr")
    return {
        "level": change.level,
        "level_name": change.level_name,
        "device": change.device,
        "simulated": is_simulated(change.device),
        "dtype": change.dtype,
        "seed": change.seed,
        "variant": {name: json.loads(text) for name, text in change.variant},
        "result": change.word,
        **{name: getattr(change, name) or None for name in texts},
        **{name: number_to_json(getattr(change, name)) for name in numbers},
    }
