"""What verification came to, as plain data: verdicts, and a recipe's result.

Free of torch, so that kept verdicts are read and shown without waiting for its import.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from porter.verify.recipe.types import is_simulated

Word = Literal["pass", "baseline", "fail", "error", "skipped"]
"""``baseline`` is a run held to itself (level 0 to its own error): run and checked, but nothing it
could lose. ``fail``: a claim does not hold. ``error``: a run failed, or the recipe proves nothing.
``skipped``: not judged here, and why; a throughput on a simulated device."""


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
        """Whether the result is a simulated device's, which must be said wherever it is shown."""
        return is_simulated(self.device)


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe came to. ``runs`` it rests on, of which ``cached`` were not made now."""

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
        """Whether any verdict was given at all: all may be skipped where no device is."""
        return any(verdict.word != "skipped" for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether something was looked at and nothing of it was bad."""
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
