"""Which of several verdicts is the worst: of a claim's seeds, of a cell's claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porter.verify.judge.result import Verdict

ORDER = ("skipped", "baseline", "pass", "missing", "fail", "error")
"""Words of verdicts and cells, the best first; ``missing``: no run is stored."""


def badness(verdict: Verdict) -> tuple[int, float, float]:
    """Return a key that orders verdicts: by word, by the used part of their allowance, by error."""
    share = verdict.share
    return ORDER.index(verdict.word), -1.0 if share is None else share, verdict.error or 0.0


def worst_of_seeds(verdicts: Iterable[Verdict]) -> list[tuple[Verdict, int]]:
    """Return the worst seed's verdict of each run, output and claim, and the number of seeds."""
    found: dict[tuple[object, ...], tuple[Verdict, int]] = {}
    for v in verdicts:
        key = (v.level, v.device, v.dtype, v.variant, v.subject, v.output, v.claim)
        worst, seeds = found.get(key, (v, 0))
        found[key] = (v if badness(v) > badness(worst) else worst, seeds + 1)
    return list(found.values())
