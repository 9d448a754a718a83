"""What became of each mutant, and the share of them that the recipes caught."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from porter.mutation.mutants import Mutant

MutantStatus = Literal["caught", "survived", "not run", "equivalent"]
"""``caught``: a verdict turned bad. ``survived``: every recipe that runs the changed line passed.
``not run``: no recipe runs that line. ``equivalent``: listed by hand as not a mistake."""


@dataclass(frozen=True)
class MutantResult:
    """One mutant's status. ``by`` names the recipe that caught it, ``detail`` the verdict."""

    mutant: Mutant
    status: MutantStatus
    by: str = ""
    detail: str = ""

    @property
    def missed(self) -> bool:
        """Whether a mistake went unnoticed."""
        return self.status in ("survived", "not run")


@dataclass(frozen=True)
class LevelScore:
    """How many of a level's mutants have which status; ``level`` is "all" for the sum."""

    level: str
    caught: int
    survived: int
    not_run: int
    equivalent: int

    @property
    def total(self) -> int:
        return self.caught + self.survived + self.not_run + self.equivalent

    @property
    def score(self) -> float | None:
        """The share caught of the mutants that are mistakes; None where there are none."""
        mistakes = self.total - self.equivalent
        return self.caught / mistakes if mistakes else None


def _score(level: str, results: Iterable[MutantResult]) -> LevelScore:
    statuses = [result.status for result in results]
    return LevelScore(
        level,
        statuses.count("caught"),
        statuses.count("survived"),
        statuses.count("not run"),
        statuses.count("equivalent"),
    )


def level_scores(results: Sequence[MutantResult]) -> list[LevelScore]:
    """Return one score per level, in their order, and one for all."""
    names = dict.fromkeys(result.mutant.level_name for result in results)
    scores = [_score(name, (r for r in results if r.mutant.level_name == name)) for name in names]
    return [*scores, _score("all", results)]


def as_json(port: str, results: Sequence[MutantResult], possible: int) -> dict[str, Any]:
    """Return everything as plain values; ``possible``: the number of mutants before sampling."""
    return {
        "port": port,
        "possible": possible,
        "levels": [asdict(each) | {"score": each.score} for each in level_scores(results)],
        "mutants": [
            {
                "key": result.mutant.key,
                "level": result.mutant.level_name,
                "file": result.mutant.path,
                "line": result.mutant.line,
                "kind": result.mutant.kind,
                "before": result.mutant.changed[0],
                "after": result.mutant.changed[1],
                "fate": result.status,
                "by": result.by,
                "detail": result.detail,
            }
            for result in results
        ],
    }
