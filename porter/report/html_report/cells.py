"""Cells of the report's matrix: the verdicts on one recipe at one level on one device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from porter.report.ci.verify import ORDER, badness, worst_of_seeds

if TYPE_CHECKING:
    from porter.verify.judge.result import Verdict

CellWord = Literal["pass", "baseline", "fail", "error", "skipped", "missing"]
"""The worst verdict's word; ``missing`` when no run is stored."""


@dataclass(frozen=True)
class ClaimResult:
    """One claim on one output: the verdict on its worst seed, and the number of seeds."""

    verdict: Verdict
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
    def share(self) -> float | None:
        """The greatest used part of an allowance, of the claims that hold."""
        held = [row.verdict.share for row in self.rows if not row.verdict.bad]
        return max((share for share in held if share is not None), default=None)

    @property
    def bad(self) -> int:
        """How many claims do not hold."""
        return sum(row.verdict.bad for row in self.rows)


def claim_results(verdicts: Iterable[Verdict]) -> tuple[ClaimResult, ...]:
    """Return a result per claim, output, dtype and variant, by its worst seed: the bad ones first,
    then those that use most of their allowance."""
    worst = sorted(worst_of_seeds(verdicts), key=lambda pair: badness(pair[0]), reverse=True)
    return tuple(ClaimResult(verdict, seeds) for verdict, seeds in worst)


def cell_of(level: int, level_name: str, device: str, verdicts: Sequence[Verdict]) -> Cell:
    """Return the cell of some verdicts; without any, one whose runs are missing."""
    rows = claim_results(verdicts)
    word: CellWord = max((row.verdict.word for row in rows), key=ORDER.index, default="missing")
    return Cell(level, level_name, device, word, rows)
