"""What verification came to, as plain data: verdicts, and a recipe's result.

Free of torch, so that kept verdicts are read and shown without waiting for its import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Word = Literal["pass", "baseline", "fail", "error"]
"""``baseline`` is level 0 held to its own error: run and checked, but nothing it could lose.
``fail``: a claim does not hold. ``error``: a run failed, or the recipe proves nothing."""


@dataclass(frozen=True)
class Verdict:
    """One claim on one output of one run; or, with no output, the run itself.

    ``measure`` is what ``error`` and ``allowed`` count (:mod:`porter.verify.compare`); ``stderr``
    is the end of a failed run's.
    """

    level: int
    level_name: str
    dtype: str
    seed: int
    output: str
    claim: str
    word: Word
    measure: str = ""
    error: float | None = None
    allowed: float | None = None
    detail: str = ""
    stderr: str = ""

    @property
    def bad(self) -> bool:
        return self.word in ("fail", "error")


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe came to."""

    port: str
    recipe: str
    title: str
    verdicts: tuple[Verdict, ...]
    runs: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether something was verified and nothing of it was bad."""
        return bool(self.verdicts) and not any(verdict.bad for verdict in self.verdicts)
