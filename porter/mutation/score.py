"""What became of each mutant, and the share that the recipes caught."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from porter.mutation.mutants import Mutant

MutantStatus = Literal["caught", "survived", "not run", "equivalent"]
"""``caught``: a verdict turned bad. ``survived``: every recipe that runs the changed line passed.
``not run``: no recipe runs that line. ``equivalent``: listed by hand as no mistake."""


@dataclass(frozen=True)
class Outcome:
    """One mutant's fate. ``by`` names the recipe that caught it, ``detail`` the verdict."""

    mutant: Mutant
    fate: MutantStatus
    by: str = ""
    detail: str = ""

    @property
    def missed(self) -> bool:
        """Whether a mistake went unnoticed."""
        return self.fate in ("survived", "not run")


@dataclass(frozen=True)
class Row:
    """The fates of a level's mutants, or of all."""

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
        """Caught among the mutants that are mistakes; None where there are none."""
        mistakes = self.total - self.equivalent
        return self.caught / mistakes if mistakes else None


def row(level: str, outcomes: Iterable[Outcome]) -> Row:
    """Count the fates."""
    fates = [outcome.fate for outcome in outcomes]
    return Row(
        level,
        fates.count("caught"),
        fates.count("survived"),
        fates.count("not run"),
        fates.count("equivalent"),
    )


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """One row a level, in their order, and one for all."""
    names = dict.fromkeys(outcome.mutant.level_name for outcome in outcomes)
    made = [row(name, (o for o in outcomes if o.mutant.level_name == name)) for name in names]
    return [*made, row("all", outcomes)]


def as_json(port: str, outcomes: Sequence[Outcome], possible: int) -> dict[str, Any]:
    """Everything as plain data; ``possible`` is the number of mutants before sampling."""
    return {
        "port": port,
        "possible": possible,
        "levels": [asdict(each) | {"score": each.score} for each in rows(outcomes)],
        "mutants": [
            {
                "key": outcome.mutant.key,
                "level": outcome.mutant.level_name,
                "file": outcome.mutant.path,
                "line": outcome.mutant.line,
                "kind": outcome.mutant.kind,
                "before": outcome.mutant.changed[0],
                "after": outcome.mutant.changed[1],
                "fate": outcome.fate,
                "by": outcome.by,
                "detail": outcome.detail,
            }
            for outcome in outcomes
        ],
    }
