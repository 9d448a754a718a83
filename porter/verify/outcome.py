"""How an output or a counter stands to a claim, in numbers and words. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

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


def unfit(detail: str, noise: float | None = None) -> Outcome:
    """The outcome of a claim that cannot be judged."""
    return Outcome(held=False, detail=detail, problem=True, noise=noise)
