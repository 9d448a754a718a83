"""Verdicts and results of recipes, as plain data.

Free of torch, so that cached verdicts are read and shown without importing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from porter.verify.recipe.types import is_simulated

Word = Literal["pass", "baseline", "fail", "error", "skipped"]
"""``baseline``: a run compared with itself (level 0 with its own error), which cannot fail.
``fail``: a claim does not hold. ``error``: a run failed, or a claim is vacuous. ``skipped``: not
judged here, for instance a throughput on a simulated device."""


@dataclass(frozen=True)
class Verdict:
    """One claim on one output, counter or throughput of one run; or, with none, the run itself.

    ``output`` is its name, ``subject`` what it is; ``variant`` the values of what the recipe varies
    (name, value as JSON). ``measure`` is what ``error`` and ``allowed`` count
    (:mod:`porter.verify.judge.compare`); ``allowed`` is the most that may be, or with ``lower`` the
    least; ``noise`` is what rounding alone moves, in the same measure
    (:mod:`porter.verify.judge.noise`; None: not measured). ``stderr`` is the end of a failed run's,
    ``narrow`` the command that goes on from here.
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
    device: str = "cpu"
    variant: tuple[tuple[str, str], ...] = ()
    subject: str = "outputs"
    lower: bool = False
    narrow: str = ""
    noise: float | None = None

    @property
    def bad(self) -> bool:
        return self.word in ("fail", "error")

    @property
    def simulated(self) -> bool:
        """Whether the device is simulated; whatever shows the verdict must say so."""
        return is_simulated(self.device)


@dataclass(frozen=True)
class RecipeResult:
    """The result of a recipe: its verdicts, the number of runs behind them, and of cached ones."""

    port: str
    recipe: str
    title: str
    verdicts: tuple[Verdict, ...]
    runs: int
    seconds: float
    cached: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether anything was judged: all may be skipped where a device is missing."""
        return any(verdict.word != "skipped" for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether there are verdicts and none is bad."""
        return bool(self.verdicts) and not any(verdict.bad for verdict in self.verdicts)


Measure = str
"""What an error is counted in: "max", "rms", "ulps", "elements", "dB", "count", ..."""


@dataclass(frozen=True)
class Outcome:
    """The measure that decides, its value, what is allowed (the most; with ``lower`` the least).

    ``noise`` is the output's own, in the same measure (None: not measured). ``problem`` says that
    the claim cannot be judged at all; ``detail`` then says why.
    """

    held: bool
    measure: Measure = ""
    error: float | None = None
    allowed: float | None = None
    detail: str = ""
    problem: bool = False
    lower: bool = False
    noise: float | None = None


def vacuous(detail: str, noise: float | None = None) -> Outcome:
    """The outcome of a claim that cannot be judged."""
    return Outcome(held=False, detail=detail, problem=True, noise=noise)
