"""Cells of the report's matrix: the verdicts on one recipe at one level on one device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from porter.verify.recipe.schema import is_simulated

if TYPE_CHECKING:
    from porter.verify.judge.result import Verdict

CellWord = Literal["pass", "baseline", "fail", "error", "skipped", "missing"]
"""The worst verdict's word; ``missing`` when no run is stored."""

_ORDER: tuple[CellWord, ...] = ("skipped", "baseline", "pass", "missing", "fail", "error")


@dataclass(frozen=True)
class ClaimResult:
    """One claim on one output, by its worst seed. ``share`` is the used part of the allowance: 1 is
    the limit, None where a claim has no such number."""

    verdict: Verdict
    share: float | None
    seeds: int = 1


@dataclass(frozen=True)
class Cell:
    """The result of one recipe at one level on one device."""

    level: int
    level_name: str
    device: str
    word: CellWord
    rows: tuple[ClaimResult, ...] = ()

    @property
    def is_simulated(self) -> bool:
        """Whether the device is simulated."""
        return is_simulated(self.device)

    @property
    def share(self) -> float | None:
        """The greatest used part of an allowance, of the claims that hold."""
        shares = [row.share for row in self.rows if row.share is not None and not row.verdict.bad]
        return max(shares, default=None)

    @property
    def bad(self) -> int:
        """How many claims do not hold."""
        return sum(row.verdict.bad for row in self.rows)


def share(verdict: Verdict) -> float | None:
    """Return the part of its allowance that a verdict uses: 1 is the limit.

    For a claim of the kind "at least", the limit over the value.
    """
    error, allowed = verdict.error, verdict.allowed
    if error is None or allowed is None:
        return None
    if math.isnan(error) or math.isnan(allowed):
        return math.inf
    over, under = (allowed, error) if verdict.lower else (error, allowed)
    if over == 0:
        return 0.0
    return over / under if under > 0 else math.inf


def rows_of(verdicts: Iterable[Verdict]) -> tuple[ClaimResult, ...]:
    """Return a result per claim, output, dtype and variant, by its worst seed: the bad ones first,
    then those that use most of their allowance."""
    worst: dict[tuple[object, ...], ClaimResult] = {}
    for verdict in verdicts:
        key = (verdict.dtype, verdict.variant, verdict.subject, verdict.output, verdict.claim)
        row = ClaimResult(verdict, share(verdict))
        known = worst.get(key)
        seeds = known.seeds + 1 if known else 1
        worse = row if known is None or _badness(row) > _badness(known) else known
        worst[key] = ClaimResult(worse.verdict, worse.share, seeds)
    return tuple(sorted(worst.values(), key=_badness, reverse=True))


def _badness(row: ClaimResult) -> tuple[int, float]:
    return _ORDER.index(row.verdict.word), row.share if row.share is not None else -1.0


def cell_of(level: int, level_name: str, device: str, verdicts: Sequence[Verdict]) -> Cell:
    """Return the cell of some verdicts; without any, one whose runs are missing."""
    rows = rows_of(verdicts)
    word: CellWord = max((row.verdict.word for row in rows), key=_ORDER.index, default="missing")
    return Cell(level, level_name, device, word, rows)
